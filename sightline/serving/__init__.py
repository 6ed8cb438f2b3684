"""`sightline run`, `sightline node` and the processes under them: plan, start, watch, stop.

In what order does a start begin its processes? `run.py` (`Runner`).
When is a model loaded, and when does it leave for another? `residency.py` (`decide`).
Who starts and stops a model's workers? `node.py` (`Node`).
What ends the processes if `sightline run` is killed? `watchdog.py` (`Watchdog`).
"""
