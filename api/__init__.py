"""The front end: takes requests over HTTP and answers them.

In what order do the layers wrap a request? `app.py` (`_add_middleware`).
What does a process hold for as long as it lives? `context.py` (`ProcessContext`).
Where is a request queued or refused? `admission/submission.py` (`submit`).
"""
