"""`sightline run` and the processes under it: plan, start, watch, stop.

In what order does a start begin its processes? `run.py` (`Runner`).
How are device, engine and rows chosen? `model_choice.py` (`choose`).
What ends the processes if `sightline run` is killed? `watchdog.py` (`Watchdog`).
"""
