"""`sightline map` beside a plain loop, and through kills of all that takes part in it."""
