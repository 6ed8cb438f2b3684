"""Steps take chunks of prompts along, and neither is understood otherwise for it."""

from typing import Any, cast

import pytest
import torch

from tests.engines import suite
from tests.engines.continuous.conftest import (
    LONG,
    QUESTIONS,
    asks,
    crowd,
    crowded,
    engine_of,
    loaded,
    noted,
    strangers,
)
from worker.engines.base import Cancelled, Finish
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.kv_slices import KnownPrefix
from worker.engines.continuous.mixed_pass import MixedPass
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.token_budget import PassLimits, PrefillPace
from worker.engines.continuous.verify import batching
from worker.engines.continuous.verify.cases import cases
from worker.engines.loading.loaded import LoadedModel


@pytest.fixture(autouse=True)
def no_graphs(harness: suite.Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, captured steps would take no chunks along."""
    monkeypatch.setattr(batching, "capturable", lambda _: False)
    monkeypatch.setattr(engine_of(harness)._loop._prefilling, "mixes", True)


@pytest.fixture(autouse=True)
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many chunks each step took along. One prompt goes first, all others come along, 9 tokens a step."""
    beside(monkeypatch, 9)
    return noted(monkeypatch, MixedPass, "inputs", lambda mixed, *_: len(mixed.spans))


class Scarce(torch.Tensor):
    """Positions behind which there is no memory for the next ones."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.add:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def beside(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    busy = PassLimits(tokens=tokens, idle=0, chunk=tokens, sequences=3)
    monkeypatch.setattr(PrefillPace, "limits", lambda _, *, hurried: busy if hurried else PassLimits(1, 0))
    monkeypatch.setattr(PrefillPace, "mixes", lambda *_: True)
    monkeypatch.setattr(PrefillPace, "lasts", lambda _: False)


@pytest.mark.parametrize("tokens", [1, 150])
def test_prompts_taken_along_change_no_answer(
    harness: suite.Harness,
    answers: list[Finish],
    chunks: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tokens: int,
) -> None:
    beside(monkeypatch, tokens)
    assert crowded(harness, strangers(QUESTIONS, f"beside steps {tokens}")) == answers
    assert len(chunks) > 3
    assert (max(chunks) > 1) is (tokens > 1)


def test_a_step_without_memory_for_the_next_positions_has_not_been_taken(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else rows would go on with a column that they count twice."""
    network, (case, *_) = shipped.network, cases(shipped)
    with torch.inference_mode():
        batch, other = Batch(network), Batch(network)
        for one in (batch, other):
            one.join(cast("Any", Prefill(network, KnownPrefix(case.inputs), case.config).advance()))
        positions = batch._positions
        monkeypatch.setattr(batch, "_positions", positions.as_subclass(Scarce))
        with pytest.raises(torch.OutOfMemoryError):
            batch.step(case.tokens[:1])
        batch._positions = positions
        for token in case.tokens[:3]:
            assert torch.equal(batch.step([token]), other.step([token]))


def test_who_leaves_in_mid_prompt_leaves_row_and_neighbours_alone(
    harness: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaver = harness.row("What do we see?" * 3, [suite.picture()], scope="mid prompt", **LONG)
    step = Batch.mixed_step

    def leaves(self: Batch, tokens: list[int], prompts: Any) -> Any:
        if any(
            prefill._config.max_new_tokens == LONG["max_new_tokens"] and prefill.done
            for prefill, _ in prompts
        ):
            leaver.cancel.set()
        return step(self, tokens, prompts)

    monkeypatch.setattr(Batch, "mixed_step", leaves)
    others = asks(harness, strangers(QUESTIONS[:3], "beside one who leaves"))
    *futures, left = crowd(harness, [*others, lambda: harness.engine.generate(leaver)])
    assert isinstance(left.exception(), Cancelled)
    assert [future.result() for future in futures] == answers[:3]


@pytest.mark.thorough
def test_a_model_with_another_attention_computes_prompts_apart_from_steps(
    answers: list[Finish], chunks: list[int]
) -> None:
    harness = loaded(attention="eager")
    assert "not along with steps (its attention is not sdpa)" in harness.engine.reason
    assert [finish.ids for finish in crowded(harness)] == [finish.ids for finish in answers]
    assert engine_of(harness)._loop._prefilling.mixes is False
    assert chunks == []
