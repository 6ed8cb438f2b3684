"""What a reader of calls needs to know of a form in which models write them."""

from abc import ABC, abstractmethod

from shared.calls.called import Called

Whole = tuple[list[Called], int]
"""Calls, and where the text goes on after them."""


class Attempt(ABC):
    """A text that may become a call. It looks at no letter of the growing text more than a few times."""

    @abstractmethod
    def read(self, text: str, *, last: bool) -> Whole | None:
        """The calls at the beginning of a text that starts with the opening; None where more must come.

        `last` says that no more will come. Raises NoCallError where the text is no call.
        """


class Form(ABC):
    """`opening` begins a call.

    With `leads` calls stand only at the beginning of an answer, where `skipped` may come before the first and
    `between` before each further one.
    """

    opening: str
    leads: bool = False
    skipped: str = ""
    between: str = ""

    @abstractmethod
    def attempt(self) -> Attempt:
        """For one text that starts with the opening."""
