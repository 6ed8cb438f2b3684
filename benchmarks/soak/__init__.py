"""Whether the record store stays as small as what is kept: `python -m benchmarks.soak`."""
