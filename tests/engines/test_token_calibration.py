"""What a worker publishes of its prompts is what its engine then counts."""

from array import array
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image as Pictures
from PIL.Image import Image as Picture

from shared.errors import CallerError
from shared.models import Model
from shared.request import Image, Message, Request, Sound, Text
from shared.tokens import estimate_tokens
from tests.engines.test_sequential import tiny
from worker.engines.base import Engine, Frames, Prompt, Samples
from worker.engines.echo import SAMPLING_RATE, EchoEngine
from worker.engines.registry import create
from worker.token_calibration import measure_tokens

MAX_SIDE = 1536
CELL = 32
PER_SECOND = 25


class Cells(EchoEngine):
    """Cuts pictures into cells, as Qwen's do, and takes none above `limit` tokens; hears as Gemma 4's do."""

    def __init__(self, limit: int = 10**6) -> None:
        super().__init__(Model(id="test/cells", engine="echo", context_length=limit))
        self.limit = limit

    def prepare(
        self,
        request: Request,
        pictures: Sequence[Picture],
        scope: str | None = "",
        sounds: Sequence[Samples] = (),
        videos: Sequence[Frames] = (),
    ) -> Prompt:
        plain = super().prepare(request, pictures, scope, sounds, videos)
        image = sum((p.width // CELL) * (p.height // CELL) for p in pictures)
        if image > self.limit:
            raise CallerError("context_length_exceeded", "too long")
        heard = sum(2 + len(sound) * PER_SECOND // SAMPLING_RATE for sound in sounds)
        whole = plain.tokens - len(pictures) - len(sounds) + image + heard
        return Prompt(whole, image, plain.inputs, audio_tokens=heard)


def question(text: str, pictures: int) -> Request:
    parts = (*[Image(digest="d")] * pictures, Text(text=text))
    return Request(model="m", messages=(Message(role="user", parts=parts),))


def counted(engine: Engine, text: str, *sizes: tuple[int, int]) -> tuple[int, int]:
    """What the engine says, in all and of pictures."""
    shown = [Pictures.new("RGB", size) for size in sizes]
    prompt = engine.prepare(question(text, len(sizes)), shown)
    return prompt.tokens, prompt.image_tokens


@pytest.mark.parametrize("sizes", [[], [(64, 64)], [(640, 480), (96, 1024)], [(1024, 1536)]])
def test_pictures_of_any_size_are_foretold_for_a_model_that_cuts_them(sizes: list[tuple[int, int]]) -> None:
    engine = Cells()
    rule = measure_tokens(engine, "m", MAX_SIDE)
    told = estimate_tokens(question("What is this?", len(sizes)), sizes, rule)

    assert told.image == counted(engine, "What is this?", *sizes)[1]


@pytest.mark.parametrize("seconds", [0.5, 1, 10, 30])
def test_sounds_of_any_length_are_foretold_for_a_model_that_listens(seconds: float) -> None:
    engine = Cells()
    request = Request(
        model="m", messages=(Message(role="user", parts=(Sound(digest="d"), Text(text="Who?"))),)
    )
    told = estimate_tokens(request, [], measure_tokens(engine, "m", MAX_SIDE), [seconds])
    samples = array("f", bytes(4 * round(seconds * SAMPLING_RATE)))

    assert told.basis == "measured"
    assert told.prompt is not None
    assert abs(told.prompt - engine.prepare(request, [], sounds=[samples]).tokens) <= 1


def test_the_shipped_model_s_prompts_are_foretold() -> None:
    engine = create(tiny()).load()
    rule = measure_tokens(engine, "test/tiny", MAX_SIDE)
    assert rule is not None
    assert not rule.sides, "each picture is shown to it in one size: three are tried, not fifteen"
    for text, sizes in (
        ("How many shapes are there in this picture?", [(640, 480)]),
        ("Name the colour of the shape on the left, and say what is above it.", [(32, 32), (900, 100)]),
    ):
        whole, image = counted(engine, text, *sizes)
        told = estimate_tokens(question(text, len(sizes)), sizes, rule)
        assert told.prompt is not None
        assert (told.image, told.basis) == (image, "measured")
        assert {(picture.width, picture.height) for picture in told.seen} == {(64, 64)}
        assert abs(told.prompt - whole) <= max(6, 0.5 * (whole - image))


def test_what_does_not_fit_the_model_is_foretold_to_fill_it() -> None:
    rule = measure_tokens(Cells(limit=300), "m", MAX_SIDE)

    assert rule is not None
    assert rule.picture(MAX_SIDE, MAX_SIDE) == 300
    assert rule.picture(256, 256) == 64


def test_a_processor_that_fails_at_a_made_up_question_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> Prompt:
        raise ZeroDivisionError("a processor")

    monkeypatch.setattr(Cells, "prepare", fail)
    assert measure_tokens(Cells(), "m", MAX_SIDE) is None
