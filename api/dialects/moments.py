"""Moments of time as answers write them."""


def seconds(ms: int | None) -> float | None:
    """Unix ms in seconds; None stays None."""
    return None if ms is None else ms / 1000
