"""The way of a request into the queue: headers, checks, submission, forecast.

What decides whether a request is queued, joined, refused or answered at once? `submission.py` (`submit`).
What is checked of a request before anything is stored? `checks.py` (`check_request`).
What does a caller read whose model cannot answer now? `readiness.py` (`not_ready`).
"""
