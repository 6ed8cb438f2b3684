"""The description of the API, `/openapi.json`: schemas of answers, examples, documented parameters.

In: the dialects' types. Out: one OpenAPI document. Imports `api.answers` and all below.
"""
