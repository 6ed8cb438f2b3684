"""Turns token ids into text as they arrive: whole characters only, and in the end what decoding all gives."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from operator import eq

Decode = Callable[[Sequence[int]], str]

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Tokens decoded again at each step; decoding all would cost time quadratic in the answer's length.
WINDOW = 24
OVERLAP = 8


def behind_blanks(decode: Decode, blanks: str) -> Decode:
    """A `decode` for tokens after these blanks: the text need not begin with them again."""

    def without(ids: Sequence[int]) -> str:
        text = decode(ids)
        return text[len(list(takewhile(bool, map(eq, text, blanks)))) :]

    return without


class Detokenizer:
    """Extends `settled`, the text that later tokens cannot change.

    The end of the text may still change: a character whose bytes have not all arrived decodes to U+FFFD, and
    a tokenizer that cleans up spaces rewrites the last few characters (`unsettled`, at most four).
    """

    def __init__(self, decode: Decode, *, unsettled: int = 0) -> None:
        self.settled = ""
        self.reached = 0
        """Whole characters so far, in code points, those included that may still change."""
        self._decode = decode
        self._unsettled = unsettled
        self._head = ""
        self._window: list[int] = []

    def push(self, token: int) -> str:
        """All settled text so far."""
        self._window.append(token)
        text = self._decode(self._window)
        whole = text.rstrip(REPLACEMENT)
        self.reached = len(self._head) + len(whole)
        candidate = self._head + whole[: max(0, len(whole) - self._unsettled)]
        # Otherwise an invalid byte has undone a character before it that readers already have.
        self.settled += candidate[len(self.settled) :]
        if len(self._window) > WINDOW:
            self._slide(text)
        return self.settled

    def finish(self) -> str:
        """The whole text, unfinished characters as U+FFFD.

        A byte-fallback decoder turns a whole run of bytes into U+FFFD if its last character is cut off; what
        readers already have stays.
        """
        text = self._head + self._decode(self._window)
        self.settled += text[len(self.settled) :]
        return self.settled

    def _slide(self, text: str) -> None:
        """Forget the oldest tokens if the rest decodes to the same characters without them."""
        rest = self._window[-OVERLAP:]
        tail = self._decode(rest)
        if tail and not tail.startswith(REPLACEMENT) and text.endswith(tail):
            self._head += text[: len(text) - len(tail)]
            self._window = rest
