"""Many callers at once, at our service and at other servers: `python -m benchmarks.batching`."""
