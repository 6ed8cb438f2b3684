"""A prompt that is an address, at a model whose processor would fetch it."""

from pathlib import Path

import pytest

from shared.errors import CallerError
from shared.models import Model
from shared.request import Message, Request, Text
from tests.support.families.family import EYE, hf, text
from tests.support.families.tokens import byte_tokenizer
from worker.engines.pretrained import described
from worker.engines.prompt import Renderer


@pytest.fixture
def idefics(tmp_path: Path) -> Renderer:
    """Its processor looks for pictures' addresses among texts (the first Idefics)."""
    tokenizer = byte_tokenizer("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    hf.IdeficsProcessor(hf.IdeficsImageProcessorPil(image_size=28), tokenizer).save_pretrained(tmp_path)
    hf.IdeficsConfig(**text(tokenizer), vision_config=EYE).save_pretrained(tmp_path)
    processor, config, _ = described(Model(id="test/idefics", source=str(tmp_path)), tmp_path)
    return Renderer(processor, config, 2048)


def typed(prompt: str) -> Request:
    parts = (Text(text=prompt),)
    return Request(model="test/idefics", messages=(Message(role="user", parts=parts),), raw=True)


@pytest.mark.parametrize("prompt", ["http://127.0.0.1:9/inside.png", " ftp://127.0.0.1/inside.png "])
def test_a_caller_cannot_have_a_worker_fetch_from_inside(idefics: Renderer, prompt: str) -> None:
    with pytest.raises(CallerError, match="nothing but an address") as refused:
        idefics.prompt(typed(prompt), [])
    assert refused.value.code == "invalid_request"


def test_an_address_among_words_is_a_prompt_like_any_other(idefics: Renderer) -> None:
    assert idefics.prompt(typed("What is at http://127.0.0.1:9/inside.png?"), []).tokens > 0
