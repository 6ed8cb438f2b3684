"""The processes that compute: model workers and couriers, both Celery applications.

In: nudges, and claims of runs from the record store. Out: results, events, fetched pictures, webhook
calls. Imports `shared`, never `api`.
"""
