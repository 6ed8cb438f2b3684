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
    characters are complete, but are never dropped. `logprobs` are those, not yet told, of tokens whose text
    has begun; None where nobody asked for them. `choice` is the number of the answer, None where only one was
    asked for; `syntax` the form in which function calls may stand in it; `prompt_tokens` the length of the
    prompt, where that is known.
    """

    start: int
    text: str
    ids: tuple[int, ...]
    logprobs: Logprobs | None = None
    choice: int | None = None
    syntax: Syntax | None = None
    prompt_tokens: int | None = None


def joined(pieces: Sequence[Piece]) -> Piece | None:
    """Consecutive pieces of one answer as one piece; None where there are none."""
    if not pieces:
        return None
    text, ids = "".join(p.text for p in pieces), tuple(i for p in pieces for i in p.ids)
    told = [p.logprobs for p in pieces if p.logprobs is not None]
    logprobs = tuple(chain.from_iterable(told)) if told else None
    return replace(pieces[0], text=text, ids=ids, logprobs=logprobs)
