"""Finds a mark in a text that comes in pieces, where it may be cut between two."""


def overlap(text: str, mark: str) -> int:
    """Length of the longest end of the text that is a beginning of the mark."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:n])), 0)
