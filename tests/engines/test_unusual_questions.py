"""Questions that a model's own code cannot bear: no picture, several, an address that it would fetch."""

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import LlavaProcessor

from shared.errors import ModelFailed
from shared.models import Model
from tests.engines import suite
from tests.engines.conftest import TINY
from tests.engines.test_sequential import tiny
from tests.support.families.family import EYE, hf, text
from tests.support.families.tokens import byte_tokenizer, chat_template
from worker.engines.loading.pretrained import configs_of
from worker.engines.registry import create
from worker.engines.sequential import SequentialEngine

WORDS = ("without a picture", "with more than one picture")


@pytest.fixture(params=[ValueError, StopIteration])
def particular(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> suite.Harness:
    """It fails unless there is one picture."""
    generate = SequentialEngine._generate

    def checked(self: SequentialEngine, row: Any) -> Any:
        if len(row.prompt.inputs.get("pixel_values", ())) != 1:
            raise request.param("You have to specify pixel_values")
        return generate(self, row)

    monkeypatch.setattr(SequentialEngine, "_generate", checked)
    return suite.Harness(create(tiny()).load())


def test_they_are_refused_not_tried_three_times_and_their_owner_reads_of_them(
    particular: suite.Harness,
) -> None:
    for pictures, words in ((0, WORDS[0]), (2, WORDS[1]), (3, WORDS[1])):
        with suite.refused("invalid_request", match=f"cannot take the request: it fails {words}"):
            particular.row("What is this?", [suite.picture()] * pictures)
    assert particular.engine.reason.startswith(f"it fails {WORDS[0]}; it fails {WORDS[1]}")
    assert particular.ask("What color is the circle?", [suite.picture()])[0].text


def test_a_machine_that_fails_while_a_model_is_tried_has_it_loaded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody's question is at fault, and the next load may succeed."""

    generate = SequentialEngine._generate

    def broken(self: SequentialEngine, row: Any) -> Any:
        if "pixel_values" not in row.prompt.inputs:
            raise OSError(errno.EMFILE, "Too many open files")
        return generate(self, row)

    monkeypatch.setattr(SequentialEngine, "_generate", broken)
    engine = create(tiny())
    with pytest.raises(OSError, match="Too many open files"):
        engine.load()


@pytest.mark.parametrize(("name", "single"), [("auto", False), ("sequential", False), ("sequential", True)])
def test_a_model_whose_processor_takes_no_question_is_not_said_to_be_ready(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, single: bool
) -> None:
    """GOT-OCR 2's, and without a template Florence-2's: each caller would be told that it was the picture."""
    call, folder = LlavaProcessor.__call__, tmp_path / "tiny"
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("chat_template.jinja" if single else ""))

    def refuse(self: Any, images: Any = None, **more: Any) -> Any:
        if single and images is None:
            return call(self, **more)
        raise ValueError("Nested images are only supported with `multi_page`.")

    monkeypatch.setattr(LlavaProcessor, "__call__", refuse)
    engine = create(tiny(folder, engine=name))
    with pytest.raises(ModelFailed, match=r"test/tiny: its processor refuses .* Nested images are only"):
        engine.load()


MARKS = ("<fake_token_around_image>", "<image>", "<end_of_utterance>")


def test_a_caller_cannot_have_a_worker_fetch_from_inside(tmp_path: Path) -> None:
    """No model is served whose processor names no token that stands for a picture, as the first Idefics'."""
    tokenizer = byte_tokenizer(*MARKS)
    processor = hf.IdeficsProcessor(hf.IdeficsImageProcessorPil(image_size=28), tokenizer)
    processor.chat_template = chat_template("")
    processor.save_pretrained(tmp_path)
    hf.IdeficsConfig(**text(tokenizer), vision_config=EYE).save_pretrained(tmp_path)
    refused = r"test/idefics: its type is idefics, whose processor names no token"
    with pytest.raises(ModelFailed, match=refused):
        configs_of(Model(id="test/idefics", source=str(tmp_path)), tmp_path)
