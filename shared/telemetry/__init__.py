"""Logs and traces of every process.

What puts a request's id on all of its lines? `logs.py` (`about`).
Where is a line made text or JSON? `logs.py` (`open_log`).
How does a trace follow a job into another process? `traces.py` (`here`).
"""
