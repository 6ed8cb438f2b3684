"""Counters and gauges: declared once; each process counts and serves its own (Prometheus' convention).

Where is what a worker counts declared? `worker_counters.py` (`ATTEMPTS`).
Where does a worker or courier serve its metrics? `metric_types.py` (`serve`).
What is read only when somebody asks? `gauges.py` (`families`).
"""
