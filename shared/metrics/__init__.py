"""Counters and gauges: declared once, summed over all processes in the record store, shown at `/metrics`."""
