"""Calls that are answered with the result: whole, or as a stream.

In: a request that a dialect has read. Out: an answer in that dialect. Imports `api.context` and all below.
"""
