"""Where the next tokens are drawn memory may run out as well: it costs time, and nobody's answer."""

from itertools import count
from typing import Any

import pytest
import torch

from shared.request import Format
from tests.engines import suite
from tests.engines.continuous.conftest import LONG, Question, crowd, crowded, engine_of, scarce
from worker.engines.base import Cancelled
from worker.engines.continuous import running_batch, sequence
from worker.engines.continuous.running_batch import RunningBatch
from worker.engines.continuous.sampling import Sampler
from worker.engines.sampling import logprobs
from worker.engines.sampling.processors import Confidence


@pytest.mark.parametrize(
    "parameters",
    [
        {"min_new_tokens": 12, "max_new_tokens": 12},
        {"format": Format(kind="choice", content='["cats and dogs and so on","dogs and cats and so on"]')},
    ],
    ids=["any text", "a format"],
)
@pytest.mark.parametrize("replayed", [0, 4])
@pytest.mark.parametrize(
    ("where", "name"),
    [(torch.Tensor, "exponential_"), (Confidence, "logprob"), (Sampler, "accept")],
    ids=["before the dice", "behind the dice", "behind the step"],
)
def test_a_draw_without_memory_is_made_again_and_the_answer_is_what_it_was(
    fresh: suite.Harness,
    monkeypatch: pytest.MonkeyPatch,
    parameters: dict[str, Any],
    replayed: int,
    where: Any,
    name: str,
) -> None:
    """Also where a reader already has the beginning: what follows fits to it."""
    asked: dict[str, Any] = {"temperature": 2.0, "seed": 3, **parameters}
    wanted, pieces = fresh.ask("What?", **asked)
    read: dict[str, Any] = {
        "published": tuple(i for piece in pieces[:replayed] for i in piece.ids),
        "published_text": "".join(piece.text for piece in pieces[:replayed]),
    }
    scarce_once(monkeypatch, where, name, 3)
    assert fresh.ask("What?", **asked, **read)[0] == wanted


@pytest.mark.parametrize(
    ("where", "name"), [(sequence, "distributions"), (logprobs.Distribution, "of"), (sequence, "Sampler")]
)
def test_logprobs_without_memory_do_not_cost_the_answer_its_seed(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    """Nor does an answer that had no memory to begin."""
    asked: dict[str, Any] = {**LONG, "seed": 3, "logprobs": 1}
    wanted, _ = fresh.ask("What?", **asked)
    scarce_once(monkeypatch, where, name, 1)
    assert fresh.ask("What?", **asked)[0] == wanted


def scarce_once(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, at: int) -> None:
    """Its call number `at` finds no memory; what is kept for later requests makes room then."""
    calls = count(1)
    scarce(monkeypatch, where, name, lambda *_, **__: next(calls) == at)


def test_who_stays_is_answered_where_memory_ran_out_behind_a_step_and_a_neighbour_leaves(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step's tokens are in the cache by then, and none was drawn behind them."""
    asked: dict[str, Any] = {**LONG, "seed": 1, "logprobs": 0}
    wanted, _ = fresh.ask("Who stays?", **asked)
    leaving = fresh.row("Who leaves?", **asked)
    real = logprobs.distributions

    def missing(logits: torch.Tensor, counts: list[int]) -> Any:
        if len(counts) == 2 and not leaving.cancel.is_set():
            leaving.cancel.set()
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(logits, counts)

    monkeypatch.setattr(running_batch, "distributions", missing)
    asks = [lambda: fresh.engine.generate(leaving), lambda: fresh.ask("Who stays?", **asked)[0]]
    gone, stayed = crowd(fresh, asks)
    assert isinstance(gone.exception(), Cancelled)
    assert stayed.result() == wanted


def test_an_answer_that_ends_beside_a_draw_without_memory_is_ended_once(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is there any to give the draw's memory back, so that all rows go back into the line."""
    short: dict[str, Any] = {"temperature": 4.0, "min_new_tokens": 3, "max_new_tokens": 3, "seed": 2}
    questions = [Question(3, {**LONG, "seed": 1}), Question(6, short)]
    wanted = [question.ask(fresh) for question in questions]
    take, hit = sequence.TokenSequence.take, list[int]()

    def missing(self: sequence.TokenSequence, *drawn: Any) -> None:
        beside = engine_of(fresh)._loop._running.answers
        if not hit and beside[:1] == [self] and any(left(other) == 1 for other in beside[1:]):
            hit.append(len(beside))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        take(self, *drawn)

    monkeypatch.setattr(sequence.TokenSequence, "take", missing)
    scarce_once(monkeypatch, RunningBatch, "give_back_memory", 1)
    assert crowded(fresh, questions) == wanted
    assert hit == [2]


def left(unfinished: sequence.TokenSequence) -> int:
    """Tokens."""
    return unfinished.budget - len(unfinished._transcript.ids)
