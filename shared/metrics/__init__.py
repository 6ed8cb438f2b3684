"""Counters and gauges: declared once, summed over all processes in the record store, shown at `/metrics`.

Where are all counters and histograms declared? `counters.py` (`REFUSALS`).
How do a process's counts reach the store? `reporter.py` (`CountReporter`).
What is read only when somebody asks? `gauges.py` (`families`).
"""
