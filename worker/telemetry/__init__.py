"""What workers report: a log line, spans and counters for each attempt, tokens a second."""
