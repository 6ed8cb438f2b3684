"""A model that would answer otherwise beside others is found out at load; each flaw here would let one."""

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from shared.errors import CallerError, ModelFailed
from shared.models import Model
from shared.request import Request
from tests.engines import suite
from tests.engines.continuous.conftest import QUESTIONS, tiny
from tests.support.families import FAMILIES
from worker.engines.base import Finish, Prompt
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.errors import BatchingError
from worker.engines.continuous.kv_cache import AlignedLayer, BatchCache
from worker.engines.continuous.prefill import CutPoints
from worker.engines.continuous.prefill_queue import HOLE
from worker.engines.continuous.row_window import RowWindow
from worker.engines.continuous.verify import batching
from worker.engines.continuous.verify.batching import verify
from worker.engines.continuous.verify.cases import VerifyCase
from worker.engines.loading.loaded import LoadedModel
from worker.engines.prompt.renderer import Renderer
from worker.engines.registry import create
from worker.engines.sequential import SequentialEngine

Plant = Callable[[LoadedModel, pytest.MonkeyPatch], None]


def neighbours_leak_into_logits(model: LoadedModel, patch: pytest.MonkeyPatch) -> None:
    """As one scale of activations for the whole batch does (int8)."""
    head, plain = model.network.lm_head, model.network.lm_head.forward

    def leaking(states: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = plain(states)
        return logits + 0.02 * logits.mean(dim=0) * (logits.shape[0] > 1)

    patch.setattr(head, "forward", leaking)


def padding_is_seen(_: LoadedModel, patch: pytest.MonkeyPatch) -> None:
    mask = RowWindow.mask
    patch.setattr(RowWindow, "mask", lambda self, device: torch.ones_like(mask(self, device)))


def positions_stand_still(_: LoadedModel, patch: pytest.MonkeyPatch) -> None:
    step = Batch.step

    def stuck(self: Batch, tokens: list[int]) -> torch.Tensor:
        before = self._positions
        logits = step(self, tokens)
        self._positions = before
        return logits

    patch.setattr(Batch, "step", stuck)


def a_row_that_leaves_leaves_its_past(_: LoadedModel, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AlignedLayer, "drop", lambda *_: None)


def columns_are_lost_when_the_cache_moves(_: LoadedModel, patch: pytest.MonkeyPatch) -> None:
    moved = AlignedLayer._moved

    def forgetful(self: AlignedLayer, *how: Any) -> torch.Tensor:
        made = moved(self, *how)
        return made.roll(1, dims=2) if self._window.rows else made

    patch.setattr(AlignedLayer, "_moved", forgetful)


def a_crowd_s_past_is_rounded(_: LoadedModel, patch: pytest.MonkeyPatch) -> None:
    """So little that hardly a token changes."""
    update = AlignedLayer.update

    def rounded(self: AlignedLayer, *past: torch.Tensor, **rest: Any) -> Any:
        crowd = past[0].shape[0] > 1
        return update(self, *(p.bfloat16().float() if crowd else p for p in past), **rest)

    patch.setattr(AlignedLayer, "update", rounded)


def a_row_reads_its_neighbours_numbers(_: LoadedModel, patch: pytest.MonkeyPatch) -> None:
    step = Batch.step
    patch.setattr(Batch, "step", lambda self, tokens: step(self, tokens).flip(0))


FLAWS: tuple[Plant, ...] = (
    neighbours_leak_into_logits,
    padding_is_seen,
    positions_stand_still,
    a_row_that_leaves_leaves_its_past,
    columns_are_lost_when_the_cache_moves,
    a_crowd_s_past_is_rounded,
    a_row_reads_its_neighbours_numbers,
)


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_found_out(flaw: Plant, shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one the same model proves itself: all who ask for `harness` are served by it."""
    flaw(shipped, monkeypatch)
    with pytest.raises(BatchingError):
        verify(shipped)


def test_a_model_refused_by_name_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    padding_is_seen(None, monkeypatch)  # type: ignore[arg-type]
    with pytest.raises(ModelFailed, match=r"test/tiny: the engine continuous .* beside 1 others"):
        create(tiny()).load()


def test_a_model_that_cannot_be_batched_is_served_one_by_one_and_says_why(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create(tiny(engine="auto", options={"stall_steps": 3}))
    padding_is_seen(None, monkeypatch)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        engine = engine.load()
    assert (engine.name, engine.rows) == ("sequential", 1)
    assert isinstance(engine, SequentialEngine), "the engine itself, with nothing before it"
    assert engine.reason.startswith("not continuous: beside")
    assert "served one request at a time: beside" in caplog.text
    assert [question.ask(suite.Harness(engine)) for question in QUESTIONS[:4]] == answers[:4]


def test_auto_batches_a_model_that_proves_itself(answers: list[Finish], harness: suite.Harness) -> None:
    engine, named = create(tiny(engine="auto")).load(), harness.engine
    assert (engine.name, engine.rows, engine.facts) == ("continuous", 4, named.facts)
    assert engine.fingerprint == named.fingerprint
    assert engine.reason.startswith("certified: ")
    assert [question.ask(suite.Harness(engine)) for question in QUESTIONS] == answers


def family(name: str, folder: Any, **fields: Any) -> LoadedModel:
    built = next(family for family in FAMILIES if family.name == name)
    return LoadedModel(Model(id=f"tiny/{name}", source=str(built.folder(folder)), **fields))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "cut_points"),
    [("llava", CutPoints.ANYWHERE), ("gemma3", CutPoints.AROUND_PICTURES), ("paligemma", CutPoints.NOWHERE)],
)
def test_prompts_are_cut_only_where_the_model_does_not_notice(
    name: str, cut_points: CutPoints, dtype: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Gemma 3 attends both ways inside a picture, PaliGemma in the whole prompt.

    By how much logits differ tells this from a device that rounds more than the proof allows for.
    """
    certificate = verify(family(name, tmp_path_factory.getbasetemp(), dtype=dtype), reuse=False)
    assert certificate.cut_points is cut_points
    reason = re.search(r"generate\(\): they differ by (\S+), (\S+) is allowed$", certificate.flaw)
    assert (reason is None) == (cut_points is CutPoints.ANYWHERE)
    assert reason is None or float(reason[1]) > float(reason[2])


def test_a_model_with_cross_attention_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(BatchingError):
        verify(family("mllama", tmp_path_factory.getbasetemp()))


@pytest.mark.parametrize("context_length", [64, 65])
def test_positions_that_depend_on_the_longest_row_are_refused_where_they_can(context_length: int) -> None:
    model = LoadedModel(tiny(context_length=context_length))
    rope = model.network.config.get_text_config().rope_parameters
    rope.update(rope_type="longrope", original_max_position_embeddings=64)
    if context_length == 64:
        verify(model, reuse=False)
        return
    with pytest.raises(BatchingError, match="64 tokens"):
        verify(model)


@pytest.mark.parametrize("context_length", [64, 65])
def test_attention_whose_temperature_depends_on_the_longest_row_is_refused_where_it_can(
    context_length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = family("llama4", tmp_path_factory.getbasetemp(), context_length=context_length)
    model.network.config.get_text_config().floor_scale = 64 + HOLE
    if context_length == 64:
        verify(model, reuse=False)
        return
    with pytest.raises(BatchingError, match=r"temperature .* 64 tokens"):
        verify(model)


def test_attention_whose_temperature_always_depends_names_no_length_that_would_help(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = family("llama4", tmp_path_factory.getbasetemp())
    model.network.config.get_text_config().floor_scale = HOLE
    with pytest.raises(BatchingError, match=r"temperature depends on the longest row$"):
        verify(model)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("stop_strings", ["END"], "stop strings"), ("guidance_scale", 1.7, "guidance_scale")],
)
def test_a_config_that_a_row_in_a_batch_would_not_keep_to_is_refused(
    name: str, value: object, words: str, shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guidance remembers what it guided: of a row that is prefilled again it would know nothing."""
    monkeypatch.setattr(shipped.network.generation_config, name, value)
    with pytest.raises(BatchingError, match=words):
        verify(shipped)


def test_a_config_that_forces_the_end_costs_nobody_the_batch() -> None:
    model = LoadedModel(tiny())
    model.network.generation_config.forced_eos_token_id = 1
    verify(model, reuse=False)


def test_neighbours_are_not_blamed_for_what_fails_without_them(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Batch.step
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "step", lambda self, tokens: step(self, tokens).roll(1, dims=1))
        with pytest.raises(BatchingError, match=r"^in a batch by itself its logits"):
            verify(shipped)

    def unanswered(_: LoadedModel) -> list[VerifyCase]:
        raise ValueError("no")

    monkeypatch.setattr(batching, "cases", unanswered)
    with pytest.raises(BatchingError, match=r"^a made-up request fails: ValueError: no"):
        verify(shipped)


@pytest.mark.parametrize("proof", ["_crowds", "_cut_points", "reusable", "shared_pass_cases"])
def test_a_model_without_memory_for_its_proof_is_not_called_flawed(
    proof: str, shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be served worse than it can be for as long as its worker lives."""

    def scarce(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    whole = getattr(batching, proof)

    def without_memory(*arguments: Any, **named: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(BatchCache, "__init__", scarce)
            return whole(*arguments, **named)

    monkeypatch.setattr(batching, proof, without_memory)
    with pytest.raises(torch.OutOfMemoryError):
        verify(shipped)


def test_a_model_that_was_asked_about_no_picture_does_not_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = Renderer.prompt

    def blind(self: Renderer, request: Request, pictures: Sequence[Any], *more: Any) -> Prompt:
        if pictures:
            raise CallerError("invalid_request", "It takes no pictures.")
        return prompt(self, request, pictures, *more)

    monkeypatch.setattr(Renderer, "prompt", blind)
    reason = create(tiny(engine="auto")).load().reason
    assert reason.startswith("certified: ")
    assert "; no question about a picture could be tried: It takes no pictures.; " in reason
    by_one = create(tiny(engine="auto", cache="static")).load().reason
    assert by_one.startswith("not continuous: a static cache is made for one request; ")
    assert "a made-up question could not be asked: It takes no pictures." in by_one
