"""Formats that break their compiler are their callers' error alone."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
