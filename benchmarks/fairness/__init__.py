"""What one caller's flood does to the others: `python -m benchmarks.fairness`."""
