"""How sure the model was, as OpenAI's own client reads it; over a worker's death: test_streams.py."""

from typing import Any

import pytest

from tests.e2e.conftest import TINY
from tests.e2e.test_answers import openai_client
from tests.support.circle_questions import BLUE, chat, circle
from tests.support.clients import Api
from tests.support.service import Service

ANEW = {"x-use-cache": "false"}


def test_the_openai_client_reads_a_chats_logprobs_whole_and_streamed(service: Service) -> None:
    asked: dict[str, Any] = {"model": TINY, "messages": chat(circle(BLUE, at=90)), "logprobs": True}
    with openai_client(service) as client:
        (whole,) = client.chat.completions.create(**asked, top_logprobs=3).choices
        stream = client.chat.completions.create(**asked, top_logprobs=3, stream=True, extra_headers=ANEW)
        tokens = [t for c in stream if c.choices[0].logprobs for t in c.choices[0].logprobs.content or ()]
        plain = client.chat.completions.create(model=TINY, messages=asked["messages"])
    assert whole.logprobs is not None
    assert whole.logprobs.content is not None
    assert "".join(token.token for token in whole.logprobs.content) == whole.message.content
    assert bytes(b for t in whole.logprobs.content for b in t.bytes or ()).decode() == whole.message.content
    for token, streamed in zip(whole.logprobs.content, tokens, strict=True):
        assert (token.token, token.bytes) == (streamed.token, streamed.bytes)
        assert token.logprob == pytest.approx(streamed.logprob, abs=1e-3)
        assert [token.top_logprobs[0].token, len(token.top_logprobs)] == [token.token, 3]
    assert plain.choices[0].logprobs is None


def test_the_openai_client_reads_a_text_completions_logprobs_whole_and_streamed(service: Service) -> None:
    asked: dict[str, Any] = {"model": TINY, "prompt": "Hello", "max_tokens": 8, "logprobs": 2}
    with openai_client(service) as client:
        (whole,) = client.completions.create(**asked).choices
        chunks = [c.choices[0] for c in client.completions.create(**asked, stream=True)]
    assert whole.logprobs is not None
    assert whole.logprobs.tokens is not None
    assert whole.logprobs.text_offset is not None
    for token, offset in zip(whole.logprobs.tokens, whole.logprobs.text_offset, strict=True):
        assert whole.text.startswith(token, offset)
    assert [len(likeliest) for likeliest in whole.logprobs.top_logprobs or ()] == [2] * len(
        whole.logprobs.tokens
    )
    assert [t for c in chunks if c.logprobs for t in c.logprobs.tokens or ()] == whole.logprobs.tokens


def test_the_openai_client_bans_a_token(service: Service) -> None:
    asked: dict[str, Any] = {"model": TINY, "prompt": "Hello", "max_tokens": 6}
    with openai_client(service) as client:
        whole = client.completions.create(**asked, extra_body={"min_tokens": 6}).choices[0]
        with Api(service.url()) as api:
            job = api.ended(api.submit(model=TINY, input={"prompt": "Hello"}, parameters={"max_tokens": 1}))
            (event,) = (e for e in api.events(job["id"]) if e.name == "text")
        banned = {str(event.data["ids"][0]): -100}
        bent = client.completions.create(**asked, logit_bias=banned).choices[0]
    assert whole.text.startswith(event.data["text"])
    assert not bent.text.startswith(event.data["text"])
