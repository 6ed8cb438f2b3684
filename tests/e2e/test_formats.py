"""Formats that break their compiler, or that no answer can have, are their callers' error alone."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.conftest import TINY
from tests.engines.test_grammar import HOSTILE
from tests.support.clients import Api


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


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^(?=a)b$"},
        {"pattern": "^b(?<=a)$"},
        {"pattern": r"^(a)\1(?!)$"},
        {"pattern": "^a{5}$", "maxLength": 3},
        {"pattern": "^a{2}$", "minLength": 3},
        {"pattern": "^a$", "enum": ["b"]},
        {"pattern": "^(?=(a$"},
        {"pattern": "("},
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_pattern_that_nothing_matches_is_no_server_error(
    api: Api, schema: dict[str, Any], stream: bool
) -> None:
    wanted = {"type": "object", "properties": {"a": {"type": "string"} | schema}, "required": ["a"]}
    tools = [{"type": "function", "function": {"name": "f", "parameters": wanted}}]
    chat = {
        "model": TINY,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 200,
        "stream": stream,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": wanted}}
    for said, param in (
        ({"response_format": form}, "response_format"),
        ({"tools": tools, "tool_choice": "required"}, "tools"),
    ):
        answer = api.post("/v1/chat/completions", json=chat | said)
        told = answer.text if stream else answer.json()["error"]
        assert stream or answer.status_code == 400
        assert "invalid_request" in str(told)
        assert f"'{param}'" in str(told).replace('"', "'")
