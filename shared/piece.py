"""A part of a running answer, from an engine's step to the readers of its stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from shared.logprobs import Logprobs


@dataclass(frozen=True)
class Piece:
    """What one or more steps added: whole characters only, with the token ids that made them.

    `start` is the offset of `text` in the answer, in code points. `ids` may be held back until their
    characters are complete, never dropped. `logprobs` are those of the tokens whose text begins in what is
    out now and were not told before, None where nobody asked for them.
    """

    start: int
    text: str
    ids: tuple[int, ...]
    logprobs: Logprobs | None = None


def joined(pieces: Sequence[Piece]) -> Piece | None:
    """Pieces that follow one another as one; None for none."""
    if not pieces:
        return None
    text, ids = "".join(p.text for p in pieces), tuple(i for p in pieces for i in p.ids)
    told = [p.logprobs for p in pieces if p.logprobs is not None]
    return Piece(pieces[0].start, text, ids, tuple(chain.from_iterable(told)) if told else None)
