"""Logprobs beside others are those alone, and asking for them takes nobody off the fast path."""

from typing import Any

import pytest

from tests.engines import suite, telling
from tests.engines.continuous.conftest import QUESTIONS, Question, crowded
from worker.engines.base import Finish
from worker.engines.continuous.sampling import Sampler


def test_the_logprobs_of_a_crowd_are_those_of_the_sequential_engine(
    harness: suite.Harness, answers: list[Finish]
) -> None:
    for mine, theirs in zip(crowded(harness), answers, strict=True):
        telling.same_logprobs(mine, theirs)
    assert {finish.logprobs is None for finish in answers} == {True, False}


def test_greedy_rows_that_tell_logprobs_are_drawn_together(
    harness: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [Question(number, {"logprobs": number or None, "max_new_tokens": 12}) for number in range(4)]
    alone = [question.ask(harness) for question in asked]
    drawn: list[Sampler] = []
    processed_scores = Sampler.processed_scores

    def counted(self: Sampler, logits: Any) -> Any:
        drawn.append(self)
        return processed_scores(self, logits)

    monkeypatch.setattr(Sampler, "processed_scores", counted)
    together = crowded(harness, asked)
    assert together == alone
    for mine, theirs in zip(together, alone, strict=True):
        telling.same_logprobs(mine, theirs)
    assert len(drawn) == len(asked), "each row's first token alone, behind its prompt"


def test_the_questions_ask_for_every_way_to_bend_an_answer() -> None:
    """What no question of the crowd asks for is proved by none of its tests."""
    wanted = {
        name for question in QUESTIONS for name, value in question.parameters.items() if value is not None
    }
    assert wanted >= {"min_p", "typical_p", "logit_bias", "stop_token_ids", "logprobs", "min_new_tokens"}
