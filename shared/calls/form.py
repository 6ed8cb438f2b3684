"""What a form of calls tells its reader."""

from abc import ABC, abstractmethod

from shared.calls.called import Called

Whole = tuple[list[Called], int]
"""Calls, and where behind them the text goes on."""


class Form(ABC):
    """`opening` begins a call, and no call is whole before `closing`, or one of these, has come.

    With `leads` calls stand at the beginning of an answer only, where `skipped` may come before the first and
    `between` before another.
    """

    opening: str
    closing: str | tuple[str, ...]
    leads: bool = False
    skipped: str = ""
    between: str = ""

    @abstractmethod
    def read(self, text: str, *, last: bool) -> Whole | None:
        """What is called at the beginning of a text that starts with `opening`; None where more has to come.

        `last` says that no more will. Raises NoCallError where it is no call.
        """
