"""Training writes prompts in tokens of its own: they must be those of the shipped processor."""

import random
from typing import Any

import pytest
from transformers import AutoProcessor

from training.dataset import NO_ANSWER, Dataset, Exchange, conversation
from training.held_out import MAKERS, Case, cases
from training.model import TINY
from training.phrases import is_held_out
from training.questions import Turn


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(TINY)  # type: ignore[no-untyped-call]


def row_of(case: Case) -> list[Exchange]:
    answers = [message.answer for message in case.messages[:-1]] + [case.answer]
    return [
        Exchange(Turn("", message.question, answer), message.pictures)
        for message, answer in zip(case.messages, answers, strict=True)
    ]


@pytest.mark.parametrize("kind", ["color", "which of two", "follow-up", "guides"])
def test_a_row_is_the_prompt_of_the_template_and_its_answer(processor: Any, kind: str) -> None:
    assert kind in MAKERS
    for case in cases(kind, unseen=False, number=5):
        prompt = processor.apply_chat_template(
            case.chat(), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        ids = prompt["input_ids"][0].tolist()
        row = Dataset(processor.tokenizer).row(row_of(case))
        assert row.tokens[: len(ids)] == ids
        assert processor.tokenizer.decode(row.tokens[len(ids) :]) == f"{case.answer}<|end|>"


def test_only_answers_and_their_ends_are_learnt(processor: Any) -> None:
    exchanges = conversation(random.Random(1))
    row = Dataset(processor.tokenizer).row(exchanges)
    learnt = [token for token in row.answers if token != NO_ANSWER]
    assert len(row.answers) == len(row.tokens)
    assert processor.tokenizer.decode(learnt) == "".join(f"{e.turn.answer}<|end|>" for e in exchanges)


def test_no_conversation_comes_to_a_held_out_way_to_ask_by_chance() -> None:
    asked = [exchange.turn.question for seed in range(600) for exchange in conversation(random.Random(seed))]
    assert [question for question in asked if is_held_out(question)] == []
    # Without the guard of `Wording` it would: this is a clause, turned.
    assert is_held_out("Tell me what the text says.")
