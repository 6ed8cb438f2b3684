"""Several answers to one question, as the clients read them; over a worker's death: test_streams.py."""

from typing import Any

import huggingface_hub

from tests.e2e.conftest import TINY
from tests.e2e.test_answers import openai_client
from tests.support.circle_questions import BLUE, chat, circle
from tests.support.clients import Api
from tests.support.service import Service

DRAWN: dict[str, Any] = {"temperature": 3.0, "top_p": 0.99, "seed": 11, "max_tokens": 12}
ANEW = {"x-use-cache": "false"}


def test_the_openai_client_reads_three_answers_of_a_chat_whole_and_streamed(service: Service) -> None:
    asked: dict[str, Any] = {"model": TINY, "messages": chat(circle(BLUE, at=95)), "n": 3, **DRAWN}
    with openai_client(service) as client:
        whole = client.chat.completions.create(**asked)
        usage = {"stream_options": {"include_usage": True}}
        chunks = list(
            client.chat.completions.create(**asked, stream=True, extra_body=usage, extra_headers=ANEW)
        )
        single = client.chat.completions.create(**asked | {"n": 1})
    texts = [choice.message.content for choice in whole.choices]
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert texts[0] == single.choices[0].message.content
    assert len(set(texts)) == 3
    streamed, ends = {0: "", 1: "", 2: ""}, list[tuple[int, str]]()
    for choice in (c for chunk in chunks for c in chunk.choices):
        streamed[choice.index] += choice.delta.content or ""
        ends += [(choice.index, choice.finish_reason)] if choice.finish_reason else []
    assert list(streamed.values()) == texts
    assert ends == [(c.index, c.finish_reason) for c in whole.choices]
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert single.usage is not None
    assert whole.usage.prompt_tokens == single.usage.prompt_tokens == chunks[-1].usage.prompt_tokens
    assert whole.usage.completion_tokens == chunks[-1].usage.completion_tokens
    assert whole.usage.completion_tokens > single.usage.completion_tokens


def test_the_openai_client_reads_several_texts(service: Service) -> None:
    asked: dict[str, Any] = {"model": TINY, "prompt": "Hello", "n": 3, **DRAWN}
    with openai_client(service) as client:
        whole = client.completions.create(**asked)
        chunks = list(client.completions.create(**asked, stream=True, extra_headers=ANEW))
    streamed = {choice.index: "" for choice in whole.choices}
    for chunk in chunks:
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == {choice.index: choice.text for choice in whole.choices}
    assert len(set(streamed.values())) == 3


def test_more_answers_than_the_model_has_rows_are_given_in_turns(service: Service, api: Api) -> None:
    drawn = {"temperature": 3.0, "seed": 4, "max_new_tokens": 12}
    body = {"inputs": "Hello", "parameters": {"num_return_sequences": 8, **drawn}}
    answers = api.post(f"/models/{TINY}", json=body).json()
    assert len({answer["generated_text"] for answer in answers}) > 4
    assert len(answers) == 8
    with huggingface_hub.InferenceClient(base_url=service.url() + "/v1", api_key="any") as client:
        messages = [{"role": "user", "content": "Hello"}]
        output = client.chat_completion(messages, model=TINY, extra_body={"n": 2} | DRAWN)
    assert [choice.index for choice in output.choices] == [0, 1]
