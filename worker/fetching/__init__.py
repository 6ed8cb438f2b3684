"""Fetches callers' remote media, guarded against private networks (SSRF).

What keeps a fetch out of a private network? `guarded_http.py` (`connect`).
When is a host that is busy asked again? `intake.py` (`_postpone`).
How many fetches may one host get at once? `fetch.py` (`HOSTS`).
"""
