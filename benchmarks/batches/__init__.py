"""A batch of the promised size, while people ask and processes are killed: `python -m benchmarks.batches`."""
