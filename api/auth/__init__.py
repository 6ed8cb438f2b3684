"""Who calls: API keys and their scopes, the rate limit of wrong keys, callers without keys, the audit log.

In: a request's head. Out: a `Caller`, or a typed error. Imports `api.server` and `shared`.
"""
