"""The engine with in-flight batching: rows join and leave between two steps.

In: prepared prompts. Out: tokens of each row, step by step. `loop` is its thread, `scheduler` decides who
waits, `kv_cache` keeps what rows have seen, `verify` proves at load that a model computes the same in a
batch.
"""
