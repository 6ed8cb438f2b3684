"""The webhook benchmark's own judgement: a checker that finds nothing proves nothing."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.webhooks.checker import ALL, OWN, DeliveredJob, given_up, judge
from benchmarks.webhooks.receivers import Received
from shared.webhooks import key_of, signature

SECRETS = {OWN: "sixteen bytes of one", ALL: "sixteen bytes of other"}
JOB = DeliveredJob("job_1a", "steady", delivered=True)
BODY = '{"type":"job.succeeded","data":{"id":"job_1a"}}'


def call(host: str, status: int | None = 204, body: str = BODY) -> Received:
    signed = signature(key_of(SECRETS[host]), JOB.message, 1, body.encode())
    return Received("steady", host, JOB.message, 1, (signed,), body, 2.0, status)


def found(
    *calls: Received,
    job: DeliveredJob = JOB,
    exhausted: frozenset[tuple[str, str]] = frozenset(),
    events: tuple[str, ...] = (JOB.message,),
) -> dict[str, int]:
    """What is counted beside what is as it should be."""
    counts = judge([job], calls, set(exhausted), events, SECRETS).counts
    return {name: n for name, n in counts.items() if n and name not in ("calls", "tries", "taken")}


REFUSED = replace(JOB, delivered=False)


@pytest.mark.parametrize(
    ("calls", "expected", "otherwise"),
    [
        ((call(OWN), call(ALL)), {}, {}),
        ((call(OWN, 500), call(OWN), call(ALL, None), call(ALL)), {}, {}),
        ((call(OWN),), {"lost": 1}, {}),
        ((call(OWN), call(ALL, 500)), {"lost": 1}, {}),
        ((call(OWN, 410), call(ALL)), {"refused": 1}, {"job": REFUSED}),
        # The record says otherwise than the receiver, or the log of events has its end not once.
        ((call(OWN), call(ALL)), {"misreported": 1}, {"job": REFUSED}),
        ((call(OWN, 410), call(ALL)), {"refused": 1, "misreported": 1}, {}),
        ((call(OWN), call(ALL)), {"misreported": 1}, {"events": ()}),
        ((call(OWN), call(ALL)), {"misreported": 1}, {"events": (JOB.message,) * 2}),
        ((call(OWN), call(ALL, body=BODY.replace("succeeded", "failed"))), {"torn": 1}, {}),
        ((replace(call(OWN), timestamp=2), call(ALL)), {"forged": 1}, {}),
        ((replace(call(OWN), signatures=call(ALL).signatures), call(ALL)), {"forged": 1}, {}),
        ((call(OWN), call(OWN), call(ALL)), {"repeats": 1}, {}),
    ],
)
def test_calls_are_judged_by_who_took_them_and_what_the_records_say(
    calls: tuple[Received, ...], expected: dict[str, int], otherwise: dict[str, Any]
) -> None:
    assert found(*calls, **otherwise) == expected


def test_a_call_that_was_given_up_in_the_log_is_not_lost() -> None:
    line = "2026 ERROR job_1a: the webhook at 127.0.0.2 is given up after 6 calls: it took longer than 1 s"
    assert given_up(["noise", line]) == {("job_1a", ALL)}
    assert found(call(OWN), call(ALL, None), exhausted=frozenset({("job_1a", ALL)})) == {"given_up": 1}


def test_strangers_are_found() -> None:
    stranger = replace(call(OWN), id="msg_2b_ended", body='{"data":{"id":"job_2b"}}')
    signed = signature(key_of(SECRETS[OWN]), stranger.id, 1, stranger.body.encode())
    assert found(call(OWN), call(ALL), replace(stranger, signatures=(signed,))) == {"unasked": 1}
