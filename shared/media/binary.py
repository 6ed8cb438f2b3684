"""Reading integers from the headers of pictures and sounds."""

from typing import Literal


def integer_at(data: bytes, at: int, length: int, order: Literal["big", "little"]) -> int:
    """Raises IndexError where the data end first."""
    if at + length > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + length], order)
