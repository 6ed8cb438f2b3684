"""Fetches callers' remote media, guarded against private networks (SSRF).

In: a pending job's URLs. Out: blobs, and the job in its queue. Imports `shared`.
"""
