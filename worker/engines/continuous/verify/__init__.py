"""Proof at load that a model computes the same for a row in a batch as alone.

In: a loaded model. Out: nothing, or `CannotBatch` with the reason.
"""
