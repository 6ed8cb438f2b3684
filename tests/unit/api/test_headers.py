"""What callers prefer, as RFC 7240 has it written."""

import math

import pytest
from fastapi import Request

from api.admission.headers import Preferences, preferences


def said(*lines: str) -> Preferences:
    headers = [(b"prefer", line.encode("latin-1")) for line in lines]
    return preferences(Request({"type": "http", "headers": headers}))


@pytest.mark.parametrize(
    ("lines", "respond_async", "wait_s"),
    [
        ([], False, None),
        (["respond-async, wait=5"], True, 5),
        (["Respond-Async;quickly", 'WAIT = 5; or = "never, ever"'], True, 5),
        (["wait"], False, math.inf),
        (['wait="", respond-async=""'], True, math.inf),
        ([r'wait="\5"'], False, 5),
        ([",, wait=5,"], False, 5),
        (["wait=5, wait=9"], False, 5),
        (["wait=5", "wait=9"], False, 5),
        (["wait=abc, wait=5"], False, None),
        (["respond-async=never, respond-async"], False, None),
        ([r'foo="x\", respond-async, y"'], False, None),
        (['foo="x, respond-async'], False, None),
        (["respond-asynchronously, wait5, =5, wait=-5"], False, None),
    ],
)
def test_what_a_caller_did_not_prefer_is_not_read_out_of_the_header(
    lines: list[str], respond_async: bool, wait_s: float | None
) -> None:
    assert said(*lines) == Preferences(respond_async, wait_s)
