"""Pauses between tries."""


def backoff_s(failures: int, first_s: float = 1.0, longest_s: float = 30.0) -> float:
    """The pause after so many failures in a row: twice that before it, from `first_s` to `longest_s`."""
    # No float holds the powers that years of failures lead to.
    return min(longest_s, first_s * 2.0 ** min(failures - 1, 20))
