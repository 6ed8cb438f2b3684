"""Jobs after their admission: reading, waiting, events, cancelling.

In: a job's id and its caller. Out: views and events. Imports `api.admission` and all below, and `shared`.
"""
