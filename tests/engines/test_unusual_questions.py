"""Questions with no picture, or with several, that a model's own code cannot bear."""

import errno
from pathlib import Path
from typing import Any

import pytest
from transformers import LlavaProcessor

from shared.errors import CallerError, ModelFailed
from shared.models import Model
from tests.engines import suite
from tests.engines.test_sequential import TINY
from tests.support.families.asking import BLUE, RED, Conversation, Subject
from tests.support.families.family import Family
from tests.support.families.llava import blip2
from worker.engines.registry import create
from worker.engines.sequential import SequentialEngine

WORDS = ("without a picture", "with more than one picture")


@pytest.fixture(params=[ValueError, UnboundLocalError, AssertionError, ImportError, StopIteration])
def particular(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> suite.Harness:
    """It fails unless there is one picture, as Kosmos 2 does."""
    generate = SequentialEngine._generate

    def checked(self: SequentialEngine, row: Any) -> Any:
        if len(row.prompt.inputs.get("pixel_values", ())) != 1:
            raise request.param("You have to specify pixel_values")
        return generate(self, row)

    monkeypatch.setattr(SequentialEngine, "_generate", checked)
    return suite.Harness(
        create(Model(id="test/tiny", engine="sequential", source=str(TINY), dtype="float32")).load()
    )


@pytest.mark.parametrize(("pictures", "words"), [(0, WORDS[0]), (2, WORDS[1]), (3, WORDS[1])])
def test_they_are_refused_and_not_tried_three_times(
    particular: suite.Harness, pictures: int, words: str
) -> None:
    with pytest.raises(CallerError, match=f"This model cannot take the request: it fails {words}") as refused:
        particular.row("What is this?", [suite.picture()] * pictures)
    assert refused.value.code == "invalid_request"


def test_the_model_s_owner_reads_of_them_and_all_others_are_answered(particular: suite.Harness) -> None:
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
    engine = create(Model(id="test/tiny", engine="sequential", source=str(TINY), dtype="float32"))
    with pytest.raises(OSError, match="Too many open files"):
        engine.load()


def test_a_model_that_bears_them_is_asked_them() -> None:
    harness = suite.Harness(
        create(Model(id="test/tiny", engine="sequential", source=str(TINY), dtype="float32")).load()
    )
    assert all(harness.ask("Hi", [suite.picture()] * count, max_new_tokens=2) for count in (0, 2))


def test_nobody_is_answered_about_the_first_of_several_pictures_alone(tmp_path: Path) -> None:
    """BLIP-2's processor makes the same prompt of one picture and of two."""
    family = Family("blip2", blip2, raw=True, text_alone=False)
    subject = Subject(family, family.save(tmp_path / family.name))
    engine = subject.engine("sequential")
    assert engine.reason == f"it fails {WORDS[0]}; it sees one picture only"
    assert subject.row(engine, Conversation("one", ((RED, "What is it?"),))).prompt.image_tokens == 4
    with pytest.raises(CallerError, match="it sees one picture only") as refused:
        subject.row(engine, Conversation("two", ((RED, BLUE, "What are they?"),)))
    assert refused.value.code == "invalid_request"


@pytest.mark.parametrize("name", ["auto", "sequential"])
def test_a_model_whose_processor_takes_no_question_is_not_said_to_be_ready(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GOT-OCR 2's: each caller would be told that it was the picture."""

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Nested images are only supported with `multi_page`.")

    monkeypatch.setattr(LlavaProcessor, "__call__", refuse)
    engine = create(Model(id="test/tiny", engine=name, source=str(TINY), dtype="float32"))
    with pytest.raises(ModelFailed, match=r"test/tiny: its processor refuses .* Nested images are only"):
        engine.load()
