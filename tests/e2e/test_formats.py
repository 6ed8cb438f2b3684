"""Clients that ask for JSON, an expression or a choice get it, through every API and under its own names."""

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import huggingface_hub
from pydantic import BaseModel

from tests.e2e.conftest import TINY
from tests.e2e.test_answers import openai_client
from tests.engines.test_grammar import HOSTILE
from tests.support.circle_questions import COLOUR, RED, chat, circle
from tests.support.clients import Api
from tests.support.service import Service


class Seen(BaseModel):
    colour: Literal["red", "green", "blue"]
    round: bool


SEEN: Any = {
    "type": "json_schema",
    "json_schema": {"name": "seen", "schema": Seen.model_json_schema()},
}
PICTURE = circle(RED, at=44)


def test_the_openai_client_parses_the_answer_into_the_callers_own_class(service: Service) -> None:
    with openai_client(service) as client:
        whole = client.chat.completions.parse(model=TINY, messages=chat(PICTURE), response_format=Seen)
        with client.chat.completions.stream(
            model=TINY, messages=chat(PICTURE), response_format=Seen
        ) as stream:
            streamed = stream.get_final_completion()
    assert isinstance(whole.choices[0].message.parsed, Seen)
    assert streamed.choices[0].message.parsed == whole.choices[0].message.parsed


def test_the_hugging_face_client_gets_json_under_both_of_its_names(service: Service) -> None:
    answers = [
        client.chat_completion(chat(PICTURE), model=model, response_format=SEEN)
        for client, model in (
            (huggingface_hub.InferenceClient(base_url=service.url(), api_key="hf_any"), TINY),
            (huggingface_hub.InferenceClient(model=f"{service.url()}/models/{TINY}"), None),
        )
    ]
    for answer in answers:
        Seen.model_validate_json(answer.choices[0].message.content or "")


def test_the_hugging_face_client_generates_text_by_a_grammar(service: Service) -> None:
    client = huggingface_hub.InferenceClient(model=f"{service.url()}/models/{TINY}")
    expression: Any = {"type": "regex", "value": "[0-9]{3}-(a|b)"}
    schema: Any = {"type": "json", "value": Seen.model_json_schema()}
    assert re.fullmatch(expression["value"], client.text_generation("Which?", grammar=expression))
    Seen.model_validate_json(client.text_generation("Which?", grammar=schema))


def test_a_job_and_a_chat_that_want_the_same_format_share_their_answer(api: Api) -> None:
    picture = base64.b64encode(PICTURE).decode()
    question = {"prompt": COLOUR, "image": picture}
    job = api.ended(api.submit(model=TINY, input=question, parameters={"response_format": SEEN, "seed": 9}))
    reply = api.post(
        "/v1/chat/completions",
        json={"model": TINY, "messages": chat(PICTURE), "response_format": SEEN, "seed": 9},
    )
    assert reply.headers["x-cache"] == "HIT"
    assert reply.json()["choices"][0]["message"]["content"] == job["result"]["text"]
    Seen.model_validate_json(job["result"]["text"])


def test_formats_that_crash_the_compiler_cost_no_one_else_an_answer(api: Api) -> None:
    """What hangs, crashes and explodes llguidance, next to callers that want a choice or any text."""
    hostile = [
        {"type": "json", "value": HOSTILE[name]}
        for name in ("never stops compiling", "overflows the stack", "has too many combinations")
    ] + [{"type": "regex", "value": "x((a{1000}){1000}){1000}"}]

    def ask(number: int, wanted: Any) -> Any:
        body = {"model": TINY, "input": {"prompt": f"Which? {number}"}, "parameters": {}}
        if wanted is not None:
            body["parameters"] = {"response_format": wanted}
        return api.ended(api.submit(**body))

    wanted = [*hostile, None, {"type": "choice", "value": ["cat", "dog"]}, None]
    with ThreadPoolExecutor(len(wanted)) as pool:
        jobs = list(pool.map(ask, range(len(wanted)), wanted))
    refused, answered = jobs[: len(hostile)], jobs[len(hostile) :]
    assert [(j["error"]["code"], j["error"]["param"]) for j in refused] == [
        ("invalid_request", "parameters.response_format")
    ] * len(hostile)
    assert [j["status"] for j in answered] == ["succeeded"] * 3
    assert answered[1]["result"]["text"] in ("cat", "dog")
    assert {len(j["attempts"]) for j in jobs} == {1}


def test_an_unsupported_keyword_is_refused_before_it_is_queued(api: Api) -> None:
    schema = {"type": "array", "uniqueItems": True}
    body = {"model": TINY, "messages": chat(PICTURE), "response_format": {"type": "json", "value": schema}}
    reply = api.post("/v1/chat/completions", content=json.dumps(body))
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "unsupported_parameter")
    assert reply.json()["error"]["param"] == "response_format.value.uniqueItems"
