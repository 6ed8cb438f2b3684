"""The courier's passes over the record store: rescue, deadlines, nudges, audit, deleted blobs.

One courier leads (`leader`) and runs each pass at its interval.
"""
