"""What a form of calls tells its reader."""

from abc import ABC, abstractmethod

from shared.calls.called import Called

Whole = tuple[list[Called], int]
"""Calls, and where behind them the text goes on."""


class Attempt(ABC):
    """What may become a call. It looks at no letter of a text that grows more often than a few times."""

    @abstractmethod
    def read(self, text: str, *, last: bool) -> Whole | None:
        """What is called at the beginning of a text that starts with the opening; None where more must come.

        `last` says that no more will. Raises NoCallError where it is no call.
        """


class Form(ABC):
    """`opening` begins a call.

    With `leads` calls stand at the beginning of an answer only, where `skipped` may come before the first and
    `between` before another.
    """

    opening: str
    leads: bool = False
    skipped: str = ""
    between: str = ""

    @abstractmethod
    def attempt(self) -> Attempt:
        """For one text that starts with the opening."""
