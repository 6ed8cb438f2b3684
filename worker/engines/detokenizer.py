"""Token ids to text as they arrive: whole characters only, in the end what one decode of all ids gives."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from operator import eq

Decode = Callable[[Sequence[int]], str]

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Decoding everything again at each token would cost the square of the answer's length.
WINDOW = 24
OVERLAP = 8


def behind_blanks(decode: Decode, blanks: str) -> Decode:
    """The same for tokens with these blanks before them: those that the text begins with are said already."""

    def without(ids: Sequence[int]) -> str:
        text = decode(ids)
        return text[len(list(takewhile(bool, map(eq, text, blanks)))) :]

    return without


class Detokenizer:
    """Grows `settled`, text that later tokens cannot change.

    Text may still change at its end: a character whose bytes have not all come decodes to U+FFFD, and a
    tokenizer that cleans up spaces rewrites the last few characters (`unsettled`, at most four).
    """

    def __init__(self, decode: Decode, *, unsettled: int = 0) -> None:
        self.settled = ""
        self.reached = 0
        """Characters that are whole, in code points, with those that may still change."""
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
        # Otherwise a character came undone that readers have: in a run of bytes by an invalid one behind it.
        self.settled += candidate[len(self.settled) :]
        if len(self._window) > WINDOW:
            self._slide(text)
        return self.settled

    def finish(self) -> str:
        """The whole text, unfinished characters as U+FFFD.

        A byte-fallback decoder turns a whole run of bytes into U+FFFD where its last character is cut off;
        what readers already have stays.
        """
        text = self._head + self._decode(self._window)
        self.settled += text[len(self.settled) :]
        return self.settled

    def _slide(self, text: str) -> None:
        """Forget the oldest tokens, where the rest alone decodes to the same characters."""
        rest = self._window[-OVERLAP:]
        tail = self._decode(rest)
        if tail and not tail.startswith(REPLACEMENT) and text.endswith(tail):
            self._head += text[: len(text) - len(tail)]
            self._window = rest
