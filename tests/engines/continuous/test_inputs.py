"""Models that are told a number per picture, which rows cannot share (Molmo2's `image_num_crops`)."""

from typing import Any

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from shared.models import Model
from tests.engines import suite
from tests.engines.test_sequential import TINY
from worker.engines.base import Engine
from worker.engines.prompt import Renderer
from worker.engines.registry import create

COUNTS = "image_num_crops"


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = Renderer.prompt

    def with_counts(self: Renderer, request: Any, pictures: Any, sounds: Any = ()) -> Any:
        made = prompt(self, request, pictures, sounds)
        if pictures:
            made.inputs[COUNTS] = torch.ones(len(pictures), dtype=torch.long)
        return made

    monkeypatch.setattr(Renderer, "prompt", with_counts)
    monkeypatch.setattr(LlavaForConditionalGeneration, "_validate_model_kwargs", lambda *_: None)


def loaded(engine: str) -> Engine:
    return create(Model(id="test/tiny", engine=engine, source=str(TINY))).load()


def test_they_are_batched_where_the_model_reads_it_only_to_encode() -> None:
    engines = [loaded(name) for name in ("auto", "sequential")]
    assert [engine.name for engine in engines] == ["continuous", "sequential"]
    pictures = [suite.picture(colour) for colour in ("red", "blue")]
    one, other = (suite.Harness(engine).ask("What do we see?", pictures)[0] for engine in engines)
    assert one.ids == other.ids


def test_they_are_not_certified_where_the_model_reads_it_at_every_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = LlavaForConditionalGeneration.forward

    def reading(self: Any, *args: Any, **given: Any) -> Any:
        outputs = forward(self, *args, **given)
        if given.get(COUNTS) is not None:
            outputs.logits = outputs.logits * 1.01
        return outputs

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", reading)
    assert loaded("auto").name == "sequential"
