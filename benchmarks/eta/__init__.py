"""Whether jobs begin when their callers were told: `python -m benchmarks.eta`."""
