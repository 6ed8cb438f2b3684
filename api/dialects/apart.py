"""An answer taken apart as it comes: words, with the logprobs of their tokens, and calls of functions."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from shared.calls.called import Called
from shared.calls.reader import Reader, Said
from shared.calls.syntax import Syntax
from shared.logprobs import Logprobs, TokenLogprob


class Words(NamedTuple):
    """Words up to the next call, or a piece of them. `logprobs` are those of tokens that begin in them."""

    text: str
    logprobs: Logprobs


Heard = Words | Called


class Apart:
    """Takes one answer apart. However it is cut into pieces, the same is heard in the end.

    `syntax` is the form in which it may call; without one it is nothing but words.
    """

    def __init__(self, syntax: Syntax | None) -> None:
        self._reader = None if syntax is None else Reader(syntax)
        self._at = 0
        # Of what the reader holds back.
        self._held: list[TokenLogprob] = []

    def feed(self, text: str, logprobs: Logprobs = ()) -> list[Heard]:
        """What the next piece, and the tokens that begin in it, make certain."""
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
        """What is certain now that no more will come."""
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
    """A whole answer: at least one, and words only once between two calls."""
    reading = Apart(syntax)
    heard = reading.feed(text, logprobs)
    for piece in reading.close():
        _add(heard, piece)
    return heard or [Words(text, logprobs)]


def _add(heard: list[Heard], piece: Heard) -> None:
    """Words behind words are one piece."""
    if heard and isinstance(before := heard[-1], Words) and isinstance(piece, Words):
        heard[-1] = Words(before.text + piece.text, before.logprobs + piece.logprobs)
    else:
        heard.append(piece)
