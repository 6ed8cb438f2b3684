"""Counters and gauges: declared once; each process counts and serves its own (Prometheus' convention).

Where are all counters and histograms declared? `counters.py` (`REFUSALS`).
Where does a worker or courier serve its metrics? `listener.py` (`serve`).
What is read only when somebody asks? `gauges.py` (`families`).
"""
