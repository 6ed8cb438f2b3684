"""How much of a fleet's time is work, and where one record store ends: `python -m benchmarks.fleet`."""
