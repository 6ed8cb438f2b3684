"""Dataclasses that nobody changes."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_object(cls: type[T]) -> type[T]:
    """A dataclass that the type checker takes for a frozen one, made where every call makes many.

    Python does not hold it to that: a frozen one with thirty fields takes five times as long to be made.
    """
    return dataclass(unsafe_hash=True)(cls)
