"""Clients that ask for JSON, an expression or a choice get it; as each API names it: tests/contract."""

import base64
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import huggingface_hub
from pydantic import BaseModel

from tests.e2e.conftest import TINY
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
