"""From the moment that a worker is asked for to its first answer, part by part: started, and forked."""

MARK = "start: "
"""Begins a line of the log."""
