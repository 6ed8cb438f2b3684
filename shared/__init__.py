"""What API, workers and command line have in common: the canonical request and result, errors, settings, the
record store, blobs. Imports none of them.
"""
