"""Identify callers: API keys and their scopes, callers without keys, the operators' log.

Where is a caller's limit per minute counted? `shared/store/functions/rate_limit.lua` (`RateLimit.count`).
Which address has to wait after wrong keys? `api_keys.py` (`GuessLimit`).
How many requests may a caller have open? `middleware.py` (`RequestLimit`).
"""
