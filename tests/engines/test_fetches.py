"""What the first Idefics' processor makes of prompts that are words alone: it would fetch an address."""

from pathlib import Path

import pytest

from shared.errors import CallerError
from shared.models import Model
from shared.request import Message, Request, Text
from tests.support.families.family import EYE, hf, text
from tests.support.families.tokens import byte_tokenizer, chat_template
from worker.engines.loading.pretrained import configs_of
from worker.engines.prompt.renderer import Renderer

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
    with pytest.raises(CallerError, match="write a space and a word") as refused:
        idefics.prompt(typed(prompt), [])
    assert refused.value.code == "invalid_request"


def test_an_address_among_words_is_a_prompt_like_any_other(idefics: Renderer) -> None:
    assert idefics.prompt(typed("What is at http://127.0.0.1:9/inside.png?"), []).tokens > 0


def test_a_chat_of_words_alone_keeps_its_spaces(idefics: Renderer) -> None:
    """A chat's text that is no list would be read as a list of letters, and joined again without blanks."""
    said = Message(role="user", parts=(Text(text="Hello there you"),))
    ids = idefics.prompt(Request(model="test/idefics", messages=(said,)), []).inputs["input_ids"][0]
    assert "Hello there you" in byte_tokenizer(*MARKS).decode(ids)
