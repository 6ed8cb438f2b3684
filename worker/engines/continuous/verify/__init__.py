"""Proof at load that a model computes the same for a row in a batch as alone.

In: a loaded model. Out: a `Certificate`, or `BatchingError` with the reason.
"""
