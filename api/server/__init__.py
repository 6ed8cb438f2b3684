"""HTTP below the routes: bodies and their limits, route class, errors, server-sent events, middleware.

Knows no job.

Where is a body too large or too slow? `body.py` (`read_body`).
How much memory may large requests take together? `memory_budget.py` (`MemoryBudget`).
Which status, headers and shape has an error? `errors.py` (`render`).
"""
