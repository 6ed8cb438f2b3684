"""The way of a request into the queue: headers, checks, submission, forecast.

In: a canonical `Request` and its `Terms`. Out: a `JobView`, or a typed error before anything is stored.
Imports `api.files`, `api.auth`, `api.server`, `api.dialects` and `shared`.
"""
