"""`sightline run` and the processes under it: plan, start, watch, stop."""
