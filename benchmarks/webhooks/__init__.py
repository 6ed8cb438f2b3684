"""Whether all webhooks are called: `python -m benchmarks.webhooks`."""
