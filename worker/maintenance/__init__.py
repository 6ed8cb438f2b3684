"""The courier's passes over the record store: rescue, deadlines, nudges, consistency, deleted blobs.

One courier leads (`leader`) and runs each pass at its interval.
"""
