"""The processes that compute: model workers and couriers, both Celery applications.

What happens between a claim and its end? `attempt.py` (`attempt`).
When does a worker claim one run more? `claim_loop.py` (`Lookahead`).
When is an engine taken to hang? `watchdogs.py` (`StallDetector`).
"""
