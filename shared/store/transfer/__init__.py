"""From one store to another: what `sightline store export` writes and `sightline store import` reads."""
