"""Whether the cache ever answers another question, or misses the same one: `python -m benchmarks.cache`."""
