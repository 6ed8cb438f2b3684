"""A model that would answer otherwise on what is kept of earlier requests is found out at load."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from shared.models import Model
from tests.engines import suite
from tests.engines.continuous.conftest import QUESTIONS, crowded, tiny
from tests.support.families import FAMILIES
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
from worker.engines.base import Finish
from worker.engines.continuous.model_inputs import EncodedPictures
from worker.engines.continuous.picture_slices import slices_are_exact
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.verify.batching import verify
from worker.engines.loading.loaded import LoadedModel
from worker.engines.registry import create

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def family(name: str, files: Path) -> LoadedModel:
    built = next(family for family in FAMILIES if family.name == name)
    return LoadedModel(Model(id=f"tiny/{name}", source=str(built.folder(files))))


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
    """Without a flaw they are: see test_families_reuse.py."""
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


def test_pictures_whose_tokens_depend_on_their_shape_are_made_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    assert not slices_are_exact(family("lfm2-vl", tmp_path_factory.getbasetemp()))
