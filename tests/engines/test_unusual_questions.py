"""Questions that a model's own code cannot bear: no picture, several, an address that it would fetch."""

import errno
from pathlib import Path
from typing import Any

import pytest
from transformers import LlavaProcessor

from shared.errors import ModelFailed
from shared.models import Model
from shared.request import Message, Request, Text
from tests.engines import suite
from tests.engines.test_sequential import tiny
from tests.support.families.asking import BLUE, RED, Conversation, Subject
from tests.support.families.family import EYE, Family, hf, text
from tests.support.families.llava import blip2
from tests.support.families.tokens import byte_tokenizer, chat_template
from worker.engines.loading.pretrained import configs_of
from worker.engines.prompt.renderer import Renderer
from worker.engines.registry import create
from worker.engines.sequential import SequentialEngine

WORDS = ("without a picture", "with more than one picture")


@pytest.fixture(params=[ValueError, StopIteration])
def particular(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> suite.Harness:
    """It fails unless there is one picture, as Kosmos 2 does."""
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


def test_nobody_is_answered_about_the_first_of_several_pictures_alone(tmp_path: Path) -> None:
    """BLIP-2's processor makes the same prompt of one picture and of two."""
    family = Family("blip2", blip2, raw=True, text_alone=False)
    subject = Subject(family, family.save(tmp_path / family.name))
    engine = subject.engine("sequential")
    assert engine.reason == f"it fails {WORDS[0]}; it sees one picture only"
    assert subject.row(engine, Conversation("one", ((RED, "What is it?"),))).prompt.image_tokens == 4
    with suite.refused("invalid_request", match="it sees one picture only"):
        subject.row(engine, Conversation("two", ((RED, BLUE, "What are they?"),)))


@pytest.mark.parametrize("name", ["auto", "sequential"])
def test_a_model_whose_processor_takes_no_question_is_not_said_to_be_ready(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GOT-OCR 2's: each caller would be told that it was the picture."""

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Nested images are only supported with `multi_page`.")

    monkeypatch.setattr(LlavaProcessor, "__call__", refuse)
    engine = create(tiny(engine=name))
    with pytest.raises(ModelFailed, match=r"test/tiny: its processor refuses .* Nested images are only"):
        engine.load()


MARKS = ("<fake_token_around_image>", "<image>", "<end_of_utterance>")


@pytest.fixture
def idefics(tmp_path: Path) -> Renderer:
    """Its processor looks for pictures' addresses among texts (the first Idefics)."""
    tokenizer = byte_tokenizer(*MARKS)
    processor = hf.IdeficsProcessor(hf.IdeficsImageProcessorPil(image_size=28), tokenizer)
    processor.chat_template = chat_template("")
    processor.save_pretrained(tmp_path)
    hf.IdeficsConfig(**text(tokenizer), vision_config=EYE).save_pretrained(tmp_path)
    processor, config, _ = configs_of(Model(id="test/idefics", source=str(tmp_path)), tmp_path)
    return Renderer(processor, config, 2048)


def typed(prompt: str) -> Request:
    parts = (Text(text=prompt),)
    return Request(model="test/idefics", messages=(Message(role="user", parts=parts),), raw=True)


@pytest.mark.parametrize(
    "prompt",
    ["http://127.0.0.1:9/inside.png", " ftp://127.0.0.1/inside.png ", "http://127.0.0.1:9/\nWhat\nis\nit?"],
)
def test_a_caller_cannot_have_a_worker_fetch_from_inside(idefics: Renderer, prompt: str) -> None:
    with suite.refused("invalid_request", match="write a space and a word"):
        idefics.prompt(typed(prompt), [])


def test_an_address_among_words_is_a_prompt_like_any_other(idefics: Renderer) -> None:
    assert idefics.prompt(typed("What is at http://127.0.0.1:9/inside.png?"), []).tokens > 0


def test_a_chat_of_words_alone_keeps_its_spaces(idefics: Renderer) -> None:
    """A chat's text that is no list would be read as a list of letters, and joined again without blanks."""
    said = Message(role="user", parts=(Text(text="Hello there you"),))
    ids = idefics.prompt(Request(model="test/idefics", messages=(said,)), []).inputs["input_ids"][0]
    assert "Hello there you" in byte_tokenizer(*MARKS).decode(ids)
