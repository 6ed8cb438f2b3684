"""Models with inputs of their own: a number per picture (Molmo2's `image_num_crops`), and no positions."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from shared.models import Model
from tests.engines import suite
from tests.engines.conftest import TINY
from worker.engines.base import Engine
from worker.engines.prompt.renderer import Renderer
from worker.engines.registry import create

COUNTS = "image_num_crops"


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = Renderer.prompt

    def with_counts(self: Renderer, request: Any, pictures: Any, *more: Any) -> Any:
        made = prompt(self, request, pictures, *more)
        if pictures:
            made.inputs[COUNTS] = torch.ones(len(pictures), dtype=torch.long)
        return made

    monkeypatch.setattr(Renderer, "prompt", with_counts)
    monkeypatch.setattr(LlavaForConditionalGeneration, "_validate_model_kwargs", lambda *_: None)


def loaded(engine: str) -> Engine:
    return create(Model(id="test/tiny", engine=engine, source=str(TINY), dtype="float32")).load()


def test_they_are_batched_where_the_model_reads_it_only_to_encode() -> None:
    engines = [loaded(name) for name in ("auto", "sequential")]
    assert [engine.name for engine in engines] == ["continuous", "sequential"]
    pictures = [suite.picture(colour) for colour in ("red", "blue")]
    one, other = (suite.Harness(engine).ask("What do we see?", pictures)[0] for engine in engines)
    assert one.ids == other.ids


def test_they_are_kept_beside_pixels_whose_name_only_the_model_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """InternVL's own code reads `image_flags`, remote code may call pixels `images`."""
    prompt, forward = Renderer.prompt, LlavaForConditionalGeneration.forward
    prepare: Callable[..., Any] = LlavaForConditionalGeneration.prepare_inputs_for_generation

    def renamed(self: Renderer, *asked: Any) -> Any:
        made = prompt(self, *asked)
        if COUNTS in made.inputs:
            made.inputs["images"] = made.inputs.pop("pixel_values")
        return made

    @functools.wraps(forward)
    def counting(self: Any, *args: Any, images: Any = None, image_num_crops: Any = None, **given: Any) -> Any:
        if images is not None:
            given |= {"pixel_values": images[image_num_crops == 1], "mm_encoder_outputs": None}
        return forward(self, *args, **given)

    @functools.wraps(prepare)
    def dropped(self: Any, *args: Any, is_first_iteration: bool = False, **given: Any) -> Any:
        if not is_first_iteration:
            given = {name: value for name, value in given.items() if name not in ("images", COUNTS)}
        return prepare(self, *args, **given, is_first_iteration=is_first_iteration)

    monkeypatch.setattr(Renderer, "prompt", renamed)
    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", counting)
    monkeypatch.setattr(LlavaForConditionalGeneration, "prepare_inputs_for_generation", dropped)
    assert loaded("auto").name == "continuous"


def test_a_model_that_counts_positions_by_itself_is_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    """EXAONE 4.5 takes none from transformers."""
    prepare: Callable[..., Any] = LlavaForConditionalGeneration.prepare_inputs_for_generation

    @functools.wraps(prepare)
    def uncounted(*args: Any, **given: Any) -> Any:
        return {**prepare(*args, **given), "position_ids": None}

    monkeypatch.setattr(LlavaForConditionalGeneration, "prepare_inputs_for_generation", uncounted)
    assert loaded("auto").name == "continuous"


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
