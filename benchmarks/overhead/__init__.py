"""What the queue costs around a model that costs nothing: `python -m benchmarks.overhead`."""
