"""Measures, once a model is loaded, how many tokens it makes of texts, pictures and sounds."""

import logging
from array import array
from collections.abc import Sequence
from typing import TypeVar

from PIL import Image as Pictures

from shared.errors import CallerError
from shared.media.sizes import Size
from shared.request import Image, Message, Sound, Text
from shared.tokens import TokenRule
from worker.engines.base import Engine
from worker.engines.loading.smoke_test import question

log = logging.getLogger("worker")
Cell = TypeVar("Cell")
Table = tuple[tuple[Cell, ...], ...]
SIDES = (64, 256, 512, 1024, 4096)
"""Sides of the pictures that are tried, in pixels; the side that pictures are shrunk to is tried, too."""
WORD = "What?"
SAMPLE = (
    "How many people are in this picture, and what is each of them doing? Describe the colours and the "
    "shapes on the left and on the right, read every word that stands on a sign, and say what is above or "
    "below. Name at least 3 things that you are sure of, and answer in one short sentence. Which is largest?"
)


def measure_tokens(engine: Engine, model: str, max_side: int | None) -> TokenRule | None:
    """Takes the time of a few prompts, which are not cached. None if the model refuses the questions."""
    try:
        short, long = (_tokens(engine, model, [text]) for text in (WORD, SAMPLE))
        per_token = (len(SAMPLE) - len(WORD)) / max(long - short, 1)
        text = len(WORD) / per_token
        sides = SIDES if max_side is None else (*(side for side in SIDES if side < max_side), max_side)
        used_sides, pictures, seen = _pictures(engine, model, sides)
        return TokenRule(
            bytes_per_token=round(per_token, 3),
            template=round(max(short - text, 0), 1),
            turn=round(max(_turn(engine, model, short) - text, 0), 1),
            sides=used_sides,
            pictures=pictures,
            seen=seen,
            sound=_sounds(engine, model, short),
        )
    except CallerError as refused:
        log.info("the model %s takes no made-up question: %s", model, refused.message)
    except Exception:
        # The outermost frame of a measurement: a processor that fails at a made-up picture may still take
        # callers'; only estimates lack it.
        log.exception("the prompts of the model %s cannot be measured", model)
    return None


def _pictures(
    engine: Engine, model: str, sides: tuple[int, ...]
) -> tuple[tuple[int, ...], Table[int], Table[Size]]:
    """Sides, tokens and seen sizes by sides; one of each if three pictures have the same, as with most."""
    least, most = sides[0], sides[-1]
    try:
        cell = {size: _picture(engine, model, size) for size in ((least, least), (least, most), (most, most))}
    except CallerError:
        return (), (), ()
    # One that has the size that the others are shrunk to is shown as it is.
    shown = {(tokens, seen or size) for size, (tokens, seen) in cell.items()}
    if len(shown) == 1 or len(set(cell.values())) == 1:
        [tokens, seen] = cell[most, most]
        return (), ((tokens,),), ((seen,),) if seen else ()
    others = ((a, b) for at, a in enumerate(sides) for b in sides[at:])
    cell |= {size: _picture(engine, model, size) for size in others if size not in cell}
    # A picture turned by 90 degrees has as many.
    counts = tuple(tuple(cell[min(w, h), max(w, h)][0] for h in sides) for w in sides)
    sizes = {size: seen or size for size, (_, seen) in cell.items()}
    sizes |= {(b, a): seen[::-1] for (a, b), seen in sizes.items()}
    return sides, counts, tuple(tuple(sizes[w, h] for h in sides) for w in sides)


def _picture(engine: Engine, model: str, size: Size) -> tuple[int, Size | None]:
    """The picture's tokens, and the size that the model sees, if it is another; the context length if the
    picture alone exceeds it.
    """
    request = question(model, (Image(), Text(text=WORD)))
    try:
        prompt = engine.prepare(request, [Pictures.new("RGB", size, "gray")], None)
    except CallerError as refused:
        if refused.code != "context_length_exceeded":
            raise
        return engine.facts.context_length, None
    shown = next(((picture.width, picture.height) for picture in prompt.seen), size)
    return prompt.image_tokens, None if shown == size else shown


def _sounds(engine: Engine, model: str, short: int) -> tuple[float, float] | None:
    """The tokens that a sound adds to a prompt of `short` tokens: a fixed number, and per second."""
    rate = engine.facts.sampling_rate
    if not rate:
        return None
    request = question(model, (Sound(), Text(text=WORD)))
    try:
        one, two = (
            engine.prepare(request, [], None, [array("f", bytes(4 * rate * seconds))]).tokens - short
            for seconds in (1, 2)
        )
    except CallerError:
        return None
    return 2 * one - two, two - one


def _turn(engine: Engine, model: str, short: int) -> float:
    """The tokens of each further turn; 0 if the model takes one turn only."""
    try:
        return (_tokens(engine, model, 3 * [WORD]) - short) / 2
    except CallerError:
        return 0


def _tokens(engine: Engine, model: str, texts: Sequence[str]) -> int:
    request = question(model, ())
    turns = tuple(
        Message(role="assistant" if at % 2 else "user", parts=(Text(text=text),))
        for at, text in enumerate(texts)
    )
    return engine.prepare(request.model_copy(update={"messages": turns}), [], None).tokens
