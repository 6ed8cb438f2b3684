"""What callers prefer, as RFC 7240 has it written."""

import math

import pytest

from api.admission.headers import Preferences, preferences


@pytest.mark.parametrize(
    ("lines", "respond_async", "wait_s"),
    [
        ([], False, None),
        (["respond-async, wait=5"], True, 5),
        (["Respond-Async;quickly", "WAIT = 5; or = never"], True, 5),
        (["wait"], False, math.inf),
        (['wait="", respond-async=""'], True, math.inf),
        ([",, wait=5,"], False, 5),
        (["wait=5, wait=9"], False, 5),
        (["wait=5", "wait=9"], False, 5),
        (["wait=abc, wait=5"], False, None),
        (["respond-async=never, respond-async"], False, None),
        (["respond-asynchronously, wait5, =5, wait=-5"], False, None),
    ],
)
def test_what_a_caller_did_not_prefer_is_not_read_out_of_the_header(
    lines: list[str], respond_async: bool, wait_s: float | None
) -> None:
    assert preferences(", ".join(lines)) == Preferences(respond_async, wait_s)
