"""`sightline doctor`: checks of an installation, before it runs and while it runs."""
