"""Steps take chunks of prompts along, and neither is understood otherwise for it."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch

from tests.engines import suite
from tests.engines.continuous.conftest import (
    LONG,
    QUESTIONS,
    Question,
    asks,
    crowd,
    crowded,
    engine_of,
    fail,
    loaded,
    scarce,
    strangers,
)
from worker.engines.base import Cancelled, DeviceBroken, Finish
from worker.engines.continuous import running_batch
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.kv_slices import KnownPrefix
from worker.engines.continuous.mixed_pass import MixedLayer, MixedPass, PromptSpan
from worker.engines.continuous.prefill import PassShare, Prefill
from worker.engines.continuous.recovery import Recovery
from worker.engines.continuous.running_batch import RunningBatch
from worker.engines.continuous.token_budget import PassLimits, PrefillPace
from worker.engines.continuous.verify import batching
from worker.engines.continuous.verify.batching import verify
from worker.engines.continuous.verify.cases import cases
from worker.engines.loading.loaded import LoadedModel


def never(_network: Any) -> bool:
    return False


@pytest.fixture(autouse=True)
def no_graphs(harness: suite.Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, captured steps would take no chunks along."""
    monkeypatch.setattr(batching, "capturable", never)
    monkeypatch.setattr(engine_of(harness)._loop._prefilling, "mixes", True)


@pytest.fixture(autouse=True)
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many chunks each step took along. One prompt goes first, all others come along, 9 tokens a step."""
    inputs, chunks = MixedPass.inputs, list[int]()

    def noted(self: MixedPass, *how: Any) -> Any:
        chunks.append(len(self.spans))
        return inputs(self, *how)

    monkeypatch.setattr(MixedPass, "inputs", noted)
    beside(monkeypatch, 9)
    return chunks


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


@pytest.mark.parametrize("tokens", [1, 9, 150])
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


def test_nobody_who_decodes_waits_for_more_than_a_step_with_its_chunks(
    harness: suite.Harness, chunks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, passes = Batch.mixed_step, list[int]()

    def noted(self: Batch, tokens: list[int], prompts: Any) -> Any:
        passes.append(sum(end - prefill.done for prefill, end in prompts))
        return step(self, tokens, prompts)

    monkeypatch.setattr(Batch, "mixed_step", noted)
    crowded(harness, strangers([Question(n, {**LONG, "seed": n}) for n in range(6)], "no wait"))
    assert len(chunks) > 20
    assert max(passes) <= 9


def test_in_bfloat16_a_step_with_chunks_is_filled_up(
    chunks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, inputs, widths = loaded(dtype="bfloat16"), MixedPass.inputs, list[int]()

    def noted(self: MixedPass, *how: Any) -> Any:
        tensors = inputs(self, *how)
        widths.append(tensors["position_ids"].shape[-1])
        return tensors

    monkeypatch.setattr(MixedPass, "inputs", noted)
    chunks.clear()
    crowded(engine)
    assert chunks
    assert widths
    assert all(width % 16 == 0 for width in widths)


@pytest.mark.parametrize("also_alone", [False, True])
def test_a_prompt_that_breaks_steps_is_computed_by_itself_and_fails_only_by_itself(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch, also_alone: bool
) -> None:
    share, advance, broken = Prefill.share, Prefill.advance, list[str]()

    def fails(prefill: Prefill, where: str) -> None:
        if prefill._config.max_new_tokens == 21:
            broken.append(where)
            raise ValueError("Image features and image tokens do not match")

    def beside_others(self: Prefill, end: int) -> Any:
        fails(self, "beside others")
        return share(self, end)

    def by_itself(self: Prefill, tokens: int | None = None) -> Any:
        if also_alone:
            fails(self, "by itself")
        return advance(self, tokens)

    monkeypatch.setattr(Prefill, "share", beside_others)
    monkeypatch.setattr(Prefill, "advance", by_itself)
    asked = strangers([*QUESTIONS[:3], Question(5, {"max_new_tokens": 21})], f"broken {also_alone}")
    *futures, poison = crowd(fresh, asks(fresh, asked))
    assert [future.result() for future in futures] == answers[:3]
    assert isinstance(poison.exception(), ValueError) is also_alone
    assert broken == ["beside others", "by itself"][: 1 + also_alone]


@pytest.mark.parametrize(
    "error", [RuntimeError("a moment's weakness"), torch.OutOfMemoryError("CUDA out of memory.")]
)
@pytest.mark.parametrize("where", ["in the pass", "behind it"])
def test_a_step_that_fails_beside_prompts_costs_nobody_anything(
    fresh: suite.Harness,
    answers: list[Finish],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    where: str,
) -> None:
    module, name = {"in the pass": (MixedPass, "pasts"), "behind it": (running_batch, "distributions")}[where]
    step, beside, failed = RunningBatch.step, [False], list[int]()
    recover = Recovery.mixed_failed

    def noted(self: RunningBatch, chunks: Any = ()) -> Any:
        beside[0] = bool(chunks)
        return step(self, chunks)

    def recovered(self: Recovery, answers: Any, error: Exception) -> None:
        failed.append(len(answers))
        recover(self, answers, error)

    fail(monkeypatch, module, name, error, lambda *_: beside[0] and not failed)
    monkeypatch.setattr(RunningBatch, "step", noted)
    monkeypatch.setattr(Recovery, "mixed_failed", recovered)
    assert crowded(fresh, strangers(QUESTIONS, f"fails {where}")) == answers
    assert len(failed) == 1


def test_without_memory_beside_prompts_what_is_kept_goes_and_fewer_share_a_pass(
    fresh: suite.Harness, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(monkeypatch, 400)
    reuse, most = engine_of(fresh)._reuse, list[int]()
    limit = reuse._ledger.limit

    def missing(mixed: MixedPass, *_: Any) -> bool:
        most.append(len(mixed.spans))
        return most[-1] > 1

    scarce(monkeypatch, MixedPass, "inputs", missing)
    assert crowded(fresh, strangers(QUESTIONS, "scarce")) == answers
    assert sum(count > 1 for count in most) == 1
    assert reuse._ledger.limit < limit
    assert engine_of(fresh)._loop._capacity.rows == 4, "the rows had memory enough"


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


def test_a_device_that_breaks_beside_prompts_is_told(
    fresh: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.AcceleratorError("CUDA error: unspecified launch failure", 719)
    fail(monkeypatch, MixedPass, "pasts", error, lambda _: True)
    questions = strangers([Question(n, {**LONG, "seed": n}) for n in range(4)], "broken")
    futures = crowd(fresh, asks(fresh, questions))
    assert {type(future.exception()) for future in futures} == {DeviceBroken}
    assert fresh.engine.broken


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


def chunks_see_what_comes_behind_them(patch: pytest.MonkeyPatch) -> None:
    def open_to_all(start: int, share: PassShare) -> PromptSpan:
        tokens = share.end - share.start
        return PromptSpan(start, start + tokens, torch.ones(1, 1, tokens, share.end, dtype=torch.bool))

    patch.setattr(PromptSpan, "of", open_to_all)


def rows_take_each_others_columns(patch: pytest.MonkeyPatch) -> None:
    update = MixedLayer.update

    def turned(self: MixedLayer, keys: torch.Tensor, values: torch.Tensor, *how: object) -> Any:
        attended = update(self, keys, values, *how)
        self._rows = (self._rows[0].flip(0), self._rows[1].flip(0))
        return attended

    patch.setattr(MixedLayer, "update", turned)


def chunks_forget_what_came_before(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        MixedPass,
        "pasts",
        lambda self, pasts=MixedPass.pasts: [past.row(0, 1, 10**6) for past in pasts(self)],
    )


@pytest.mark.parametrize(
    "flaw",
    [chunks_see_what_comes_behind_them, rows_take_each_others_columns, chunks_forget_what_came_before],
)
def test_a_model_that_computes_otherwise_beside_steps_computes_prompts_apart_from_them(
    flaw: Callable[[pytest.MonkeyPatch], None], shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaw(monkeypatch)
    proved = verify(shipped).together
    assert (proved.prompts, proved.pictures, proved.steps) == (True, True, False)
    assert "computes prompts together, not along with steps (" in proved.words


def test_a_model_with_another_attention_computes_prompts_apart_from_steps(
    answers: list[Finish], chunks: list[int]
) -> None:
    harness = loaded(attention="eager")
    assert "not along with steps (its attention is not sdpa)" in harness.engine.reason
    assert [finish.ids for finish in crowded(harness)] == [finish.ids for finish in answers]
    assert engine_of(harness)._loop._prefilling.mixes is False
    assert chunks == []
