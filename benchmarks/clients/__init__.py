"""Many streams through OpenAI's client: `python -m benchmarks.clients`."""
