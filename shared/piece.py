"""A part of a running answer, from an engine's step to the readers of its stream."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from shared.calls.syntax import Syntax
from shared.logprobs import Logprobs


@dataclass(frozen=True)
class Piece:
    """What one or more steps added: whole characters only, with the token ids that made them.

    `start` is the offset of `text` in the answer, in code points. `ids` may be held back until their
    characters are complete, never dropped. `logprobs` are those of the tokens whose text begins in what is
    out now and were not told before, None where nobody asked for them. `choice` says which of several answers
    it is part of, None where one was asked for; `syntax` in which form calls of functions may stand in it;
    `prompt_tokens` how many the question has, where that is known.
    """

    start: int
    text: str
    ids: tuple[int, ...]
    logprobs: Logprobs | None = None
    choice: int | None = None
    syntax: Syntax | None = None
    prompt_tokens: int | None = None


def joined(pieces: Sequence[Piece]) -> Piece | None:
    """Pieces of one answer that follow one another as one; None for none."""
    if not pieces:
        return None
    text, ids = "".join(p.text for p in pieces), tuple(i for p in pieces for i in p.ids)
    told = [p.logprobs for p in pieces if p.logprobs is not None]
    logprobs = tuple(chain.from_iterable(told)) if told else None
    return replace(pieces[0], text=text, ids=ids, logprobs=logprobs)
