"""The webhook benchmark's own judgement: a checker that finds nothing proves nothing."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.webhooks.checker import DeliveredJob, given_up, judge
from benchmarks.webhooks.receivers import HOST, Received
from shared.webhooks import key_of, signature

SECRET = "sixteen bytes of one"
JOB = DeliveredJob("job_1a", "steady", delivered=True)
BODY = '{"type":"job.succeeded","data":{"id":"job_1a"}}'


def call(status: int | None = 204, body: str = BODY, secret: str = SECRET) -> Received:
    signed = signature(key_of(secret), JOB.message, 1, body.encode())
    return Received("steady", HOST, JOB.message, 1, (signed,), body, 2.0, status)


def found(
    *calls: Received, job: DeliveredJob = JOB, exhausted: frozenset[str] = frozenset()
) -> dict[str, int]:
    """What is counted beside what is as it should be."""
    counts, _ = judge([job], calls, set(exhausted), SECRET)
    return {name: n for name, n in counts.items() if n and name not in ("calls", "taken")}


REFUSED = replace(JOB, delivered=False)


@pytest.mark.parametrize(
    ("calls", "expected", "otherwise"),
    [
        ((call(),), {}, {}),
        ((call(500), call(None), call()), {}, {}),
        ((call(500),), {"lost": 1}, {"job": REFUSED}),
        ((call(410),), {"refused": 1}, {"job": REFUSED}),
        # The record says otherwise than the receiver.
        ((call(),), {"misreported": 1}, {"job": REFUSED}),
        ((call(410),), {"refused": 1, "misreported": 1}, {}),
        ((call(500, body=BODY.replace("succeeded", "failed")), call()), {"torn": 1}, {}),
        ((replace(call(), timestamp=2),), {"forged": 1}, {}),
        ((call(secret="sixteen bytes of other"),), {"forged": 1}, {}),
        ((call(), call()), {}, {}),
    ],
)
def test_calls_are_judged_by_who_took_them_and_what_the_records_say(
    calls: tuple[Received, ...], expected: dict[str, int], otherwise: dict[str, Any]
) -> None:
    assert found(*calls, **otherwise) == expected


def test_a_call_that_was_given_up_in_the_log_is_not_lost() -> None:
    line = "2026 ERROR job_1a: the webhook at 127.0.0.1 is given up after 6 calls: it took longer than 1 s"
    assert given_up(["noise", line]) == {"job_1a"}
    assert found(call(None), job=REFUSED, exhausted=frozenset({"job_1a"})) == {"given_up": 1}


def test_strangers_are_found() -> None:
    stranger = replace(call(), id="msg_2b_ended", body='{"data":{"id":"job_2b"}}')
    signed = signature(key_of(SECRET), stranger.id, 1, stranger.body.encode())
    assert found(call(), replace(stranger, signatures=(signed,))) == {"unasked": 1}
