"""The description of the API, `/openapi.json`: schemas of answers, examples, documented parameters.

Where is the document put together? `document.py` (`install_schema`).
Which job do the examples show? `examples.py` (`SUCCEEDED`).
Which errors does a route say that it answers? `responses.py` (`refusals`).
"""
