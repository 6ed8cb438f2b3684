"""Prompts in one pass with each other, or with a step, are understood as by themselves."""

from typing import Any

import pytest
import torch

from tests.engines import suite
from tests.engines.continuous.conftest import (
    LONG,
    QUESTIONS,
    ROWS,
    asks,
    crowd,
    crowded,
    engine_of,
    loaded,
    noted,
    strangers,
)
from tests.support.families.crowd import in_chunks
from worker.engines.base import Cancelled, Finish
from worker.engines.continuous import prefill, verify
from worker.engines.continuous.prefill import KnownPrompt, Prefill
from worker.engines.continuous.runner import Runner, Step
from worker.engines.continuous.verify_cases import cases
from worker.engines.loading.loaded import LoadedModel

Spans = list[list[tuple[int, int]]]


@pytest.fixture(autouse=True)
def no_graphs(harness: suite.Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, captured steps would take no chunks along."""
    monkeypatch.setattr(verify, "capturable", lambda _: False)
    monkeypatch.setattr(engine_of(harness)._loop, "_mixes", True)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Where the chunks that each step took along began and ended."""
    return noted(monkeypatch, Step, "beside", lambda _, chunks: [(one.done, end) for one, end in chunks])


@pytest.mark.parametrize("mixes", [False, True], ids=["apart", "beside steps"])
@pytest.mark.parametrize("tokens", [1, 40, 4096])
def test_prompts_that_share_passes_are_answered_as_alone(
    harness: suite.Harness,
    answers: list[Finish],
    passes: Spans,
    beside: Spans,
    monkeypatch: pytest.MonkeyPatch,
    tokens: int,
    mixes: bool,
) -> None:
    in_chunks(monkeypatch, tokens, mixes=mixes)
    assert crowded(harness, strangers(QUESTIONS, f"{tokens} tokens, {mixes}")) == answers
    assert bool(beside) is mixes
    most = max(map(len, passes))
    assert most == ROWS if tokens == 4096 else most > 1
    unlike = [spans for spans in passes if len({start for start, _ in spans}) > 1]
    assert unlike or tokens > 1, "some begin further on than others"


class Scarce(torch.Tensor):
    """Positions behind which there is no memory for the next ones."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.add:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


@torch.inference_mode()
def test_a_step_without_memory_for_the_next_positions_has_not_been_taken(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else rows would go on with a column that they count twice."""
    network, (case, *_) = shipped.network, cases(shipped)
    batch, other = Runner(network), Runner(network)
    for one in (batch, other):
        prompt = Prefill(network, KnownPrompt(case.inputs), case.config)
        prompt.advance(prompt.length)
        one.join(prompt)
    with monkeypatch.context() as patch:
        patch.setattr(batch, "_positions", batch._positions.as_subclass(Scarce))
        with pytest.raises(torch.OutOfMemoryError):
            batch.step(case.tokens[:1])
    for token in case.tokens[:3]:
        assert torch.equal(batch.step([token]), other.step([token]))


def test_who_leaves_in_mid_prompt_leaves_row_and_neighbours_alone(
    harness: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks(monkeypatch, 9, mixes=True)
    leaver = harness.row("What do we see?" * 3, [suite.picture()], scope="mid prompt", **LONG)
    step = Step.beside

    def leaves(self: Step, chunks: Any) -> torch.Tensor:
        if any(one.done and one._config.max_new_tokens == LONG["max_new_tokens"] for one, _ in chunks):
            leaver.cancel.set()
        return step(self, chunks)

    monkeypatch.setattr(Step, "beside", leaves)
    others = asks(harness, strangers(QUESTIONS[:3], "beside one who leaves"))
    *futures, left = crowd(harness, [*others, lambda: harness.engine.generate(leaver)])
    assert isinstance(left.exception(), Cancelled)
    assert [future.result() for future in futures] == answers[:3]


@pytest.mark.thorough
def test_a_model_with_another_attention_computes_prompts_one_by_one(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = loaded(attention="eager")
    assert "computes prompts one by one (no two of its prompts fit into one)" in harness.engine.reason
    flat = noted(monkeypatch, prefill, "_flat_inputs")
    assert [finish.ids for finish in crowded(harness)] == [finish.ids for finish in answers]
    assert flat == []
