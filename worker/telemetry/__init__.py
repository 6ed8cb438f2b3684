"""What workers report: a log line, spans and counters for each attempt, tokens a second.

What does the log say of an attempt? `attempt_log.py` (`log_attempt`).
Under which outcome is it counted? `attempt_log.py` (`counted_outcome`).
How are tokens a second measured? `token_metrics.py` (`Throughput`).
"""
