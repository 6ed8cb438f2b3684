"""Text that comes in pieces, and a mark in it that may be cut by them."""


def overlap(text: str, mark: str) -> int:
    """Length of the longest end of a text that begins a mark."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:n])), 0)
