"""HTTP below the routes: bodies and their limits, route class, errors, server-sent events, middleware.

In: ASGI messages. Out: parsed bodies, and answers in bytes. Knows no job; imports `api.dialects` for the
forms of errors, and `shared`.
"""
