"""Folders of models that transformers has, and that answer in another way than we ask."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from shared.errors import ModelFailed
from shared.models import Model
from tests.engines.test_sequential import TINY
from worker.engines.loading import pretrained
from worker.engines.prompt.renderer import Renderer
from worker.engines.registry import create

hf: Any = transformers


def refused(folder: Path) -> str:
    with pytest.raises(ModelFailed) as refusal:
        create(Model(id="test/tiny", source=str(folder))).load()
    return str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("bert", "its type is bert, of which transformers has no AutoModelForImageTextToText"),
        ("pi0", "its type is pi0, which does not answer token by token"),
    ],
)
def test_a_model_of_another_kind_is_refused_by_its_type_and_not_by_a_list_of_all_others(
    kind: str, reason: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(TINY, tmp_path / "other")
    (folder / "config.json").write_text(f'{{"model_type": "{kind}", "vocab_size": 512}}')
    told = refused(folder)
    assert reason in told
    assert len(told) < 250


def test_a_model_whose_processor_reads_no_words_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    raw: Callable[..., Any] = Renderer._chat

    def without_words(self: Renderer, *how: Any) -> Any:
        inputs, lost = raw(self, *how)
        return {"pixel_values": inputs["pixel_values"]}, lost

    monkeypatch.setattr(Renderer, "_chat", without_words)
    assert "makes no tokens of a question" in refused(TINY)


def test_phi_4_multimodal_is_found_where_transformers_keeps_it() -> None:
    assert pretrained._network_class(hf.Phi4MultimodalConfig()) == "AutoModelForMultimodalLM"
    assert pretrained._network_class(hf.LlavaConfig()) == "AutoModelForImageTextToText"


def test_a_model_that_computes_positions_from_its_tokens_types_is_told_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = hf.LlavaForConditionalGeneration.forward

    def typed(self: Any, *args: Any, mm_token_type_ids: Any = None, **given: Any) -> Any:
        return forward(self, *args, mm_token_type_ids=mm_token_type_ids, **given)

    model = Model(id="test/tiny", source=str(TINY))
    assert not pretrained.pretrained(model, TINY)[0].return_mm_token_type_ids
    monkeypatch.setattr(hf.LlavaForConditionalGeneration, "forward", typed)
    assert pretrained.pretrained(model, TINY)[0].return_mm_token_type_ids
