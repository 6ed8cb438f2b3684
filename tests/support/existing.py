"""What a test goes on with, and must be there."""

from typing import TypeVar

T = TypeVar("T")


def existing(found: T | None) -> T:
    assert found is not None
    return found
