"""Splits an answer, as it comes, into words with their tokens' logprobs and calls of functions."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from shared.calls.called import Called
from shared.calls.reader import Reader, Said
from shared.calls.syntax import Syntax
from shared.logprobs import Logprobs, TokenLogprob


class Words(NamedTuple):
    """Words up to the next call, or a piece of them. `logprobs` are of the tokens that begin in them."""

    text: str
    logprobs: Logprobs


Heard = Words | Called


class Apart:
    """Splits one answer. The result does not depend on how the answer was cut into pieces.

    `syntax` is the form in which the model writes calls; without one the answer is all words.
    """

    def __init__(self, syntax: Syntax | None) -> None:
        self._reader = None if syntax is None else Reader(syntax)
        self._at = 0
        # Tokens of the text that the reader holds back.
        self._held: list[TokenLogprob] = []

    def feed(self, text: str, logprobs: Logprobs = ()) -> list[Heard]:
        """Take in the next piece and the tokens that begin in it; returns what is certain by now."""
        if self._reader is None:
            return [Words(text, logprobs)]
        heard: list[Heard] = []
        for piece, tokens in self._by_token(text, logprobs):
            self._held += tokens
            if piece:
                self._hear(heard, self._reader.feed(piece))
        self._at += len(text)
        return heard

    def close(self) -> list[Heard]:
        """The rest, now that no more will come."""
        heard: list[Heard] = []
        self._hear(heard, [] if self._reader is None else self._reader.close())
        return heard

    def _by_token(self, text: str, logprobs: Logprobs) -> Iterator[tuple[str, Logprobs]]:
        bounds = [min(max(token.start - self._at, 0), len(text)) for token in logprobs] + [len(text)]
        yield text[: bounds[0]], ()
        for token, (start, end) in zip(logprobs, pairwise(bounds), strict=True):
            yield text[start:end], (token,)

    def _hear(self, heard: list[Heard], said: list[Said]) -> None:
        for piece in said:
            tokens, self._held = tuple(self._held), []
            _add(heard, piece if isinstance(piece, Called) else Words(piece, tokens))


def apart(text: str, syntax: Syntax | None, logprobs: Logprobs = ()) -> list[Heard]:
    """Split a whole answer: at least one item, and never two of words in a row."""
    reading = Apart(syntax)
    heard = reading.feed(text, logprobs)
    for piece in reading.close():
        _add(heard, piece)
    return heard or [Words(text, logprobs)]


def _add(heard: list[Heard], piece: Heard) -> None:
    """Append a piece; words after words are joined."""
    if heard and isinstance(before := heard[-1], Words) and isinstance(piece, Words):
        heard[-1] = Words(before.text + piece.text, before.logprobs + piece.logprobs)
    else:
        heard.append(piece)
