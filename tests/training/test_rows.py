"""Training writes prompts in tokens and pixels of its own: they must be those of the shipped processor."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoProcessor

from training.asking import messages
from training.cases import MAKERS, Case, cases
from training.conversation import Exchange, conversation
from training.painter import paint
from training.pixels import pixels
from training.questions import Turn
from training.rows import NO_ANSWER, Rows
from training.train import TEMPLATE

TINY = Path(__file__).parents[2] / "models" / "tiny"


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(TINY)  # type: ignore[no-untyped-call]


def row_of(case: Case) -> list[Exchange]:
    answers = [said.answer for said in case.asked[:-1]] + [case.answer]
    return [
        Exchange(Turn("", said.question, answer), said.pictures)
        for said, answer in zip(case.asked, answers, strict=True)
    ]


@pytest.mark.parametrize("kind", ["color", "which of two", "follow-up", "guides"])
def test_a_row_is_the_prompt_of_the_template_and_its_answer(processor: Any, kind: str) -> None:
    assert kind in MAKERS
    for case in cases(kind, unseen=False, number=5):
        prompt = processor.apply_chat_template(
            messages(case), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        ids = prompt["input_ids"][0].tolist()
        row = Rows(processor.tokenizer).row(row_of(case))
        assert row.tokens[: len(ids)] == ids
        assert processor.tokenizer.decode(row.tokens[len(ids) :]) == f"{case.answer}<|end|>"


def test_only_answers_and_their_ends_are_learnt(processor: Any) -> None:
    said = conversation(random.Random(1))
    row = Rows(processor.tokenizer).row(said)
    learnt = [token for token in row.answers if token != NO_ANSWER]
    assert len(row.answers) == len(row.tokens)
    assert processor.tokenizer.decode(learnt) == "".join(f"{e.turn.answer}<|end|>" for e in said)


def test_the_eye_is_trained_on_the_pixels_it_will_be_given(processor: Any) -> None:
    scenes = [paint(random.Random(seed)) for seed in range(12)]
    given = processor.image_processor([scene.image for scene in scenes], return_tensors="pt")["pixel_values"]
    for scene, values in zip(scenes, given, strict=True):
        trained = torch.from_numpy(pixels(scene.image).copy()).permute(2, 0, 1).float() / 127.5 - 1
        assert (trained - values).abs().max() < 0.02


def test_the_shipped_template_is_the_one_trained_with() -> None:
    assert (TINY / "chat_template.jinja").read_text() == TEMPLATE.read_text()
