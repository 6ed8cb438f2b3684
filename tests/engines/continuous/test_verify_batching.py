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
    another_pictures_features,
    columns_are_another_tokens,
    pictures_change_places,
    positions_begin_anew,
    positions_count_tokens,
    states_begin_anew,
)
from worker.engines.base import Finish, Prompt
from worker.engines.continuous import model_inputs, shared_pass
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.errors import BatchingError
from worker.engines.continuous.kv_cache import AlignedLayer, BatchCache
from worker.engines.continuous.kv_slices import KVSlices
from worker.engines.continuous.mixed_pass import MixedLayer, MixedPass, PromptSpan
from worker.engines.continuous.model_inputs import EncodedPictures
from worker.engines.continuous.picture_slices import slices_are_exact
from worker.engines.continuous.prefill import CutPoints, PassShare, Prefill
from worker.engines.continuous.prefill_queue import HOLE
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.row_window import RowWindow
from worker.engines.continuous.verify import batching
from worker.engines.continuous.verify.batching import verify
from worker.engines.loading.loaded import LoadedModel
from worker.engines.prompt.renderer import Renderer
from worker.engines.registry import create
from worker.engines.sequential import SequentialEngine

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
Planted = Callable[[LoadedModel, pytest.MonkeyPatch], None]


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
        model.network.config.get_text_config().floor_scale = HOLE + (64 if context_length else 0)
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


def rows_see_what_fills_up_others(patch: pytest.MonkeyPatch) -> None:
    mask = shared_pass._mask

    def all_ones(*how: Any) -> torch.Tensor | None:
        hidden = mask(*how)
        return None if hidden is None else torch.ones_like(hidden)

    patch.setattr(shared_pass, "_mask", all_ones)


def known_tokens_end_at_the_wrong_column(patch: pytest.MonkeyPatch) -> None:
    row = KVSlices.row
    patch.setattr(KVSlices, "row", lambda self, at, start, end: row(self, at, 0, end - start))


def rows_take_their_neighbours_columns(patch: pytest.MonkeyPatch) -> None:
    row = KVSlices.row
    patch.setattr(KVSlices, "row", lambda self, at, start, end: row(self, max(0, at - 1), start, end))


def shorter_rows_are_read_at_the_longest_ones_end(patch: pytest.MonkeyPatch) -> None:
    take = Prefill.take
    last: list[torch.Tensor] = []

    def late(self: Prefill, end: int, logits: torch.Tensor, past: KVSlices) -> Any:
        last.append(logits)
        return take(self, end, last[0], past)

    patch.setattr(Prefill, "take", late)


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
    pasts = MixedPass.pasts
    patch.setattr(MixedPass, "pasts", lambda self: [past.row(0, 1, 10**6) for past in pasts(self)])


ONE_BY_ONE = "computes prompts one by one (prompts in one pass are answered otherwise: they differ by "
APART = "computes prompts together, not along with steps ("


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        (rows_see_what_fills_up_others, ONE_BY_ONE),
        (known_tokens_end_at_the_wrong_column, ONE_BY_ONE),
        (rows_take_their_neighbours_columns, ONE_BY_ONE),
        (shorter_rows_are_read_at_the_longest_ones_end, ONE_BY_ONE),
        (chunks_see_what_comes_behind_them, APART),
        (rows_take_each_others_columns, APART),
        (chunks_forget_what_came_before, APART),
    ],
)
def test_a_model_that_computes_prompts_otherwise_together_computes_them_apart(
    flaw: Callable[[pytest.MonkeyPatch], None],
    words: str,
    shipped: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "capturable", lambda _: False)
    flaw(monkeypatch)
    proved = verify(shipped, reuse=words == APART).together
    assert proved.prompts is (words == APART)
    assert not (proved.prompts and proved.steps)
    assert words in proved.words


def test_pictures_that_change_each_other_are_encoded_one_by_one(
    shipped: LoadedModel, harness: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "their pictures one by one" not in harness.engine.reason
    encode_all = model_inputs.encode_all
    monkeypatch.setattr(
        "worker.engines.continuous.reuse_cache.encode_all", lambda *given: encode_all(*given)[::-1]
    )
    proved = verify(shipped).together
    assert (proved.prompts, proved.pictures) == (True, False)
    assert "their pictures one by one" in proved.words


def prompts_that_only_begin_alike_share(patch: pytest.MonkeyPatch) -> None:
    """Though each token depends on all that follow."""
    patch.setattr(ReuseCache, "_scope", lambda _, content: content.scope)


@pytest.mark.parametrize(
    ("name", "flaw"),
    [
        ("llava", positions_begin_anew),
        ("gemma3", columns_are_another_tokens),
        ("qwen2.5-vl", positions_count_tokens),
        ("lfm2-vl", states_begin_anew),
        ("paligemma", prompts_that_only_begin_alike_share),
    ],
)
def test_beginnings_that_serve_badly_are_not_kept(
    name: str, flaw: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without a flaw they are: see test_families_crowd.py."""
    flaw(monkeypatch)
    proved = verify(family(name, tmp_path_factory.getbasetemp())).reusable
    assert (proved.beginnings, proved.pictures) == (False, True)
    assert proved.flaw
    assert proved.flaw in proved.words


@pytest.mark.parametrize("flaw", [another_pictures_features, all_pictures_are_one, pictures_change_places])
def test_pictures_that_serve_badly_are_not_kept(
    flaw: Plant, shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a flaw they are: see test_reuse_cache.py."""
    flaw(monkeypatch)
    assert not verify(shipped).reusable.apart


def test_pictures_that_a_model_sees_in_each_others_light_are_encoded_together(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = shipped.network.base_model
    encode: Callable[..., Any] = base.get_image_features

    def brighter_together(pixel_values: Any, **more: Any) -> Any:
        return encode(pixel_values=pixel_values * len(pixel_values), **more)

    monkeypatch.setattr(base, "get_image_features", brighter_together)
    proved = verify(shipped).reusable
    assert (proved.beginnings, proved.pictures, proved.apart) == (True, True, False)


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
    assert not proved.anything
    assert "no chat" in proved.words


def test_a_flawed_model_is_served_without_and_says_why(
    answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        columns_are_another_tokens(patch)
        patch.setattr(EncodedPictures, "of", lambda _: None)
        served = suite.Harness(create(tiny()).load())
    assert "reuses nothing (its pictures are not encoded by themselves)" in served.engine.reason
    for _ in range(2):
        assert crowded(served, QUESTIONS[:4]) == answers[:4]
        assert served.ask("Hello", [suite.picture()])[0].cached_tokens == 0


@pytest.mark.parametrize("name", ["llava", "qwen2.5-vl", "smolvlm"])
def test_pictures_that_a_processor_makes_otherwise_beside_others_are_made_one_by_one(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = family(name, tmp_path_factory.getbasetemp())
    assert slices_are_exact(model)
    kind = type(model.renderer._processor.image_processor)
    prepare = kind._preprocess

    def brighter_beside_others(self: Any, images: Any, *given: Any, **named: Any) -> Any:
        made = prepare(self, images, *given, **named)
        pictures = images[0] if isinstance(images[0], list) else images
        return made if len(pictures) < 2 else {**made, "pixel_values": made["pixel_values"] + 1}

    monkeypatch.setattr(kind, "_preprocess", brighter_beside_others)
    assert not slices_are_exact(model)
