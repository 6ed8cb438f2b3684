"""A model that would answer otherwise beside others, or on what is kept, is found out at load."""

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Any

import pytest
import torch

from shared.errors import CallerError, ModelFailed
from shared.models import Model
from shared.request import Request
from tests.engines import suite
from tests.engines.continuous.conftest import QUESTIONS, crowded, tiny
from tests.support.families import NAMED
from tests.support.families.chatting import (
    Plant,
    all_pictures_are_one,
    columns_are_another_tokens,
    new_pictures_are_mirrored,
    nothing_is_found_again,
    positions_begin_anew,
    positions_count_tokens,
    states_begin_anew,
)
from worker.engines.base import Finish, Prompt
from worker.engines.continuous import prefill
from worker.engines.continuous import verify as proof
from worker.engines.continuous.kv_cache import BatchCache, BatchingError, KVLayer
from worker.engines.continuous.prefill import CutPoints, FlatLayer, Prefill
from worker.engines.continuous.runner import Runner, Step
from worker.engines.continuous.verify import verify
from worker.engines.continuous.verify_cases import LogitsComparison
from worker.engines.loading.loaded import LoadedModel
from worker.engines.prompt.renderer import Renderer
from worker.engines.registry import create
from worker.engines.sequential import SequentialEngine

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
Planted = Callable[[LoadedModel, pytest.MonkeyPatch], None]


def changed(patch: pytest.MonkeyPatch, owner: Any, name: str, change: Callable[..., Any]) -> None:
    """What a method returns is changed, by what it was called with."""
    method = getattr(owner, name)
    patch.setattr(owner, name, lambda *given, **named: change(method(*given, **named), *given))


def neighbours_leak_into_logits(model: LoadedModel, patch: pytest.MonkeyPatch) -> None:
    """As one scale of activations for the whole batch does (int8)."""

    def leaking(logits: torch.Tensor, *_: Any) -> torch.Tensor:
        return logits + 0.02 * logits.mean(dim=0) * (logits.shape[0] > 1)

    changed(patch, model.network.lm_head, "forward", leaking)


def padding_is_seen(_: Any, patch: pytest.MonkeyPatch) -> None:
    seen: Any = vars(Step)["seen"].fget
    patch.setattr(Step, "seen", property(lambda step: torch.ones_like(seen(step))))


def positions_stand_still(_: Any, patch: pytest.MonkeyPatch) -> None:
    def stuck(logits: torch.Tensor, runner: Runner, *_: Any) -> torch.Tensor:
        runner._positions = runner._positions - 1
        return logits

    changed(patch, Runner, "step", stuck)


def a_row_that_leaves_leaves_its_past(_: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KVLayer, "drop", lambda *_: None)


def columns_are_lost_when_the_cache_moves(_: Any, patch: pytest.MonkeyPatch) -> None:
    changed(
        patch, KVLayer, "_moved", lambda made, layer, *_: made.roll(1, 2) if layer._table.lengths else made
    )


def a_crowd_s_past_is_rounded(_: Any, patch: pytest.MonkeyPatch) -> None:
    """So little that hardly a token changes."""

    def rounded(past: Any, *_: Any) -> Any:
        return tuple(one.bfloat16().float() if len(one) > 1 else one for one in past)

    changed(patch, KVLayer, "update", rounded)


def a_row_reads_its_neighbours_numbers(_: Any, patch: pytest.MonkeyPatch) -> None:
    changed(patch, Runner, "step", lambda logits, *_: logits.flip(0))


FLAWS: tuple[Planted, ...] = (
    neighbours_leak_into_logits,
    padding_is_seen,
    positions_stand_still,
    a_row_that_leaves_leaves_its_past,
    columns_are_lost_when_the_cache_moves,
    a_crowd_s_past_is_rounded,
    a_row_reads_its_neighbours_numbers,
)


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_found_out(flaw: Planted, shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one the same model proves itself: all who ask for `harness` are served by it."""
    flaw(shipped, monkeypatch)
    with pytest.raises(BatchingError):
        verify(shipped)


def test_a_model_refused_by_name_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    padding_is_seen(None, monkeypatch)
    with pytest.raises(ModelFailed, match=r"test/tiny: the engine continuous .* in a batch by itself"):
        create(tiny()).load()


def test_a_model_that_cannot_be_batched_is_served_one_by_one_and_says_why(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create(tiny(engine="auto", options={"stall_steps": 3}))
    padding_is_seen(None, monkeypatch)
    with caplog.at_level(logging.WARNING):
        engine = engine.load()
    assert (engine.name, engine.rows) == ("sequential", 1)
    assert isinstance(engine, SequentialEngine), "the engine itself, with nothing before it"
    assert engine.reason.startswith("not continuous: in a batch")
    assert "served one request at a time: in a batch" in caplog.text
    assert [question.ask(suite.Harness(engine)) for question in QUESTIONS[:4]] == answers[:4]


def test_auto_batches_a_model_that_proves_itself(answers: list[Finish], harness: suite.Harness) -> None:
    engine, named = create(tiny(engine="auto")).load(), harness.engine
    assert (engine.name, engine.rows, engine.facts) == ("continuous", 4, named.facts)
    assert engine.fingerprint == named.fingerprint
    assert engine.reason.startswith("certified: ")
    assert [question.ask(suite.Harness(engine)) for question in QUESTIONS] == answers


def family(name: str, folder: Any, **fields: Any) -> LoadedModel:
    return LoadedModel(Model(id=f"tiny/{name}", source=str(NAMED[name].folder(folder)), **fields))


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


@pytest.mark.parametrize(
    ("name", "context_length", "words"),
    [
        ("shipped", 64, None),
        ("shipped", 65, "64 tokens"),
        ("llama4", 64, None),
        ("llama4", 65, r"temperature .* 64 tokens"),
        ("llama4", None, r"temperature depends on the longest row$"),
    ],
)
def test_positions_and_temperatures_of_the_longest_row_are_refused_where_they_can_be(
    name: str, context_length: int | None, words: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if name == "shipped":
        model = LoadedModel(tiny(context_length=context_length))
        rope = model.network.config.get_text_config().rope_parameters
        rope.update(rope_type="longrope", original_max_position_embeddings=64)
    else:
        model = family(name, tmp_path_factory.getbasetemp(), context_length=context_length)
        model.network.config.get_text_config().floor_scale = 128 if context_length else 0
    with pytest.raises(BatchingError, match=words) if words else nullcontext():
        verify(model, reuse=False)


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


@pytest.mark.parametrize("part", ["_crowds", "_cut_points", "_reusable", "_try_flat"])
def test_a_model_without_memory_for_its_proof_is_not_called_flawed(
    part: str, shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be served worse than it can be for as long as its worker lives."""

    def scarce(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    whole = getattr(proof, part)

    def without_memory(*arguments: Any, **named: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(BatchCache, "__init__", scarce)
            return whole(*arguments, **named)

    monkeypatch.setattr(proof, part, without_memory)
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


def chunks_see_what_comes_behind_them(patch: pytest.MonkeyPatch) -> None:
    def open_to_all(prefill: Prefill, end: int) -> torch.Tensor:
        return torch.ones(1, 1, end - prefill.done, end, dtype=torch.bool)

    patch.setattr(prefill, "_causal", open_to_all)


def chunks_begin_elsewhere_in_their_past(patch: pytest.MonkeyPatch) -> None:
    def rolled(_: Any, layer: FlatLayer, *__: Any) -> Any:
        layer._pasts = [(keys.roll(1, dims=2), values) for keys, values in layer._pasts]
        return _

    changed(patch, FlatLayer, "update", rolled)


def rows_take_each_others_past(patch: pytest.MonkeyPatch) -> None:
    def turned(_: Any, layer: FlatLayer, *__: Any) -> Any:
        if layer._rows is not None:
            keys, values = layer._batch
            layer._batch = keys.flip(0), values.flip(0)
        return _

    changed(patch, FlatLayer, "update", turned)


ONE_BY_ONE = "computes prompts one by one (prompts in one pass are answered otherwise: they differ by "
APART = "computes prompts together, not along with steps ("


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        (chunks_see_what_comes_behind_them, ONE_BY_ONE),
        (chunks_begin_elsewhere_in_their_past, ONE_BY_ONE),
        (rows_take_each_others_past, APART),
    ],
)
def test_a_model_that_computes_prompts_otherwise_together_computes_them_apart(
    flaw: Plant, words: str, shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "capturable", lambda _: False)
    assert verify(shipped, reuse=False).mixes
    flaw(monkeypatch)
    proved = verify(shipped, reuse=False)
    assert (proved.flat, proved.mixes) == (words == APART, False)
    assert words in proved.words


@pytest.mark.parametrize(
    ("name", "flaw"),
    [
        ("llava", positions_begin_anew),
        ("gemma3", columns_are_another_tokens),
        ("qwen2.5-vl", positions_count_tokens),
        ("lfm2-vl", states_begin_anew),
        ("qwen3.5", nothing_is_found_again),
    ],
)
def test_beginnings_that_serve_badly_are_not_kept(
    name: str, flaw: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without a flaw they are: see test_families_crowd.py."""
    flaw(monkeypatch)
    proved = verify(family(name, tmp_path_factory.getbasetemp())).reusable
    assert not proved.beginnings
    assert proved.flaw
    assert proved.flaw in proved.words


@pytest.mark.parametrize("flaw", [all_pictures_are_one, new_pictures_are_mirrored])
def test_pictures_that_serve_badly_are_not_told_apart(
    flaw: Plant, shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify(shipped).reusable.apart
    flaw(monkeypatch)
    assert not verify(shipped).reusable.apart


def test_pictures_that_a_third_one_changes_are_not_kept_from_turns_with_two(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = family("llava-onevision", tmp_path_factory.getbasetemp())
    assert verify(model).reusable.apart
    base = model.network.base_model
    encode: Callable[..., Any] = base.get_image_features

    @wraps(encode)
    def brighter_among_more(pixel_values: Any, batch_num_images: Any, **more: Any) -> Any:
        bright = pixel_values * (1 + int(batch_num_images.max()))
        return encode(pixel_values=bright, batch_num_images=batch_num_images, **more)

    monkeypatch.setattr(base, "get_image_features", brighter_among_more)
    proved = verify(model).reusable
    assert (proved.beginnings, proved.apart) == (True, False)


def test_a_model_without_a_chat_to_try_is_served_without() -> None:
    proved = verify(LoadedModel(tiny(context_length=100))).reusable
    assert not proved.beginnings
    assert "no chat" in proved.words


def test_a_flawed_model_is_served_without_and_says_why(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        columns_are_another_tokens(patch)
        served = suite.Harness(create(tiny()).load())
    assert "reuses nothing (a prompt that is known in part is answered otherwise: " in served.engine.reason
    for _ in range(2):
        assert crowded(served, QUESTIONS[:4]) == answers[:4]
        assert served.ask("Hello", [suite.picture()])[0].cached_tokens == 0


LEAST, OUT = "least", float("-inf")
"""How models hide tokens: Chameleon with its format's least number."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("got", "alone", "refusal"),
    [
        ((1.3, 0.6, LEAST), (1.3, 0.6, LEAST), None),
        ((27.7, 13.8, OUT), (27.7, 13.8, OUT), None),
        ((1.0, -2.0, -1e4), (1.0, -2.0, -1e4), None),
        ((2.0, -2.0, LEAST), (1.0, -2.0, LEAST), "differ by 5"),
        ((2.0, -2.0, OUT), (1.0, -2.0, OUT), "differ by 5"),
        ((1.0, -2.0, 0.5), (1.0, -2.0, LEAST), "differ by"),
        ((1.0, -2.0, LEAST), (1.0, -2.0, 0.5), "differ by"),
        ((1.0, -2.0, 60.0), (1.0, -2.0, -1e4), "differ by"),
        ((1.0, -2.0, float("nan")), (1.0, -2.0, OUT), "differ by"),
        ((1.0, 1.0, 1.0), (1.0, float("nan"), 0.0), "alone its logits are no finite numbers"),
        ((1.0, 1.0, 1.0), (1.0, float("inf"), 0.0), "alone its logits are no finite numbers"),
    ],
)
def test_logits_are_told_apart_however_a_model_hides_tokens(
    got: tuple[Any, ...], alone: tuple[Any, ...], refusal: str | None, dtype: torch.dtype
) -> None:
    """A batch's logits come in the model's own format, those of `generate()` in float32."""
    batch, reference = (
        torch.tensor([torch.finfo(dtype).min if one is LEAST else one for one in logits], dtype=dtype)
        for logits in (got, alone)
    )
    judge = LogitsComparison(dtype)
    with pytest.raises(BatchingError, match=refusal) if refusal else nullcontext():
        judge.compare(batch, reference.float(), "other")
    assert refusal or judge.worst == 0
