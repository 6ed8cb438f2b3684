"""The chaos benchmark's own judgement: a checker that finds nothing proves nothing."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.chaos.clients import DONE, Chat, Events, SentEvent
from benchmarks.chaos.faults import DECK, InjectedFault, Recovery, explain, plan, recoveries
from benchmarks.chaos.history import Attempt, End, History, Question, Story, judge
from shared.job import LEAP

QUESTION = Question(1, "follow", "one two three", picture=False)
LEASE_S = 3.0


def right() -> Story:
    """A job that was accepted, ended once, and answered rightly."""
    done = Attempt(1, "w", 1.0, 2.0, "succeeded")
    end = End("succeeded", "one two three")
    return Story(QUESTION, ids={"job_1"}, accepted_at=0.5, ended_at=2.0, ends={end}, attempts=(done,))


def counts(story: Story, listed: set[str] | None = None) -> dict[str, int]:
    verdict = judge(History([story], listed if listed is not None else {"job_1"}))
    return {name: count for name, count in verdict.counts.items() if count and name != "jobs"}


RIGHT, FAILED = End("succeeded", "one two three"), End("failed", "")
REMOVED = End("failed", "model_removed: gone")
TWICE = tuple(Attempt(number, "w", 1.0, 2.0, "succeeded") for number in (1, 2))


@pytest.mark.parametrize(
    ("otherwise", "expected"),
    [
        ({}, {}),
        ({"missing": True}, {"lost": 1}),
        ({"ends": {FAILED}}, {"lost": 1}),
        ({"ends": {End("cancelled", "")}}, {"lost": 1}),
        ({"ends": {End("succeeded", "one two")}}, {"lost": 1}),
        ({"ends": {RIGHT, FAILED}}, {"lost": 1, "doubled": 1}),
        ({"ends": set()}, {"stuck": 1}),
        ({"attempts": TWICE}, {"doubled": 1}),
        ({"ends": {REMOVED}, "removed": True}, {"model_removed": 1}),
        ({"ends": {FAILED}, "removed": True}, {"lost": 1}),
        ({"ends": {REMOVED}}, {"lost": 1}),
        ({"reports": {"succeeded"}}, {}),
        ({"reports": set()}, {"untold": 1}),
        ({"reports": {"failed"}}, {"untold": 1}),
        ({"reports": {"failed", "succeeded"}}, {"untold": 1}),
    ],
)
def test_what_became_of_a_job_is_judged_rightly(otherwise: dict[str, Any], expected: dict[str, int]) -> None:
    assert counts(replace(right(), **otherwise)) == expected


@pytest.mark.parametrize(
    ("story", "listed", "expected"),
    [
        (replace(right(), ids={"job_1", "job_2"}), {"job_1", "job_2"}, {"doubled": 1}),
        (right(), {"job_1", "job_9"}, {"doubled": 1}),
        (Story(QUESTION), {"job_1"}, {"stuck": 1}),
        (Story(QUESTION), set(), {"stuck": 1}),
    ],
    ids=["two jobs for one key", "one nobody asked for", "its client got no answer", "never accepted"],
)
def test_jobs_that_the_list_has_are_told_apart(
    story: Story, listed: set[str], expected: dict[str, int]
) -> None:
    assert counts(story, listed) == expected


def test_a_removal_explains_failures_of_its_time() -> None:
    waited, later, early = right(), right(), right()
    waited.life, later.life, early.life = (4.0, 6.5), (8.0, 9.0), (3.0, 4.0)
    explain([waited, later, early], [InjectedFault("model_removed", "m", None, 5.0, 6.0)])
    assert [story.removed for story in (waited, later, early)] == [True, False, False]


def text(number: int, start: int, piece: str) -> SentEvent:
    return SentEvent(number, "text", {"start": start, "text": piece})


def end(number: int, answer: str) -> SentEvent:
    return SentEvent(number, "succeeded", {"job": {"status": "succeeded", "result": {"text": answer}}})


async def sent(events: Iterable[SentEvent]) -> AsyncIterator[SentEvent]:
    for event in events:
        yield event


WHOLE = [text(1, 0, "one two"), text(2, 7, " three"), end(3, "one two three")]


async def test_a_stream_read_in_two_parts_is_one_text() -> None:
    story = right()
    events = Events(story)
    await events.read(sent([WHOLE[0], SentEvent(0, "error", {})]))
    await events.read(sent(WHOLE[1:]))
    assert (events.over, events.text, story.flaws) == (True, "one two three", [])


async def test_a_stream_that_lived_through_a_restart_of_the_store_is_whole() -> None:
    story = right()
    first, *rest = WHOLE
    events = Events(story)
    await events.read(sent([first, *(event._replace(id=event.id + LEAP) for event in rest)]))
    assert (events.over, story.flaws) == (True, [])


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([WHOLE[0], WHOLE[2]], id="an event is left out"),
        pytest.param(
            [WHOLE[0], *(event._replace(id=event.id + 1) for event in WHOLE[1:])], id="an id is left out"
        ),
        pytest.param([WHOLE[0], WHOLE[0], *WHOLE[1:]], id="an event comes twice"),
        pytest.param([WHOLE[0], text(2, 6, "o three"), end(3, "one two three")], id="a piece is repeated"),
        pytest.param([WHOLE[0], text(2, 8, "three"), end(3, "one two three")], id="a piece is left out"),
        pytest.param([WHOLE[0], end(2, "one two three")], id="the text is shorter than the answer"),
        pytest.param(WHOLE[:2], id="it ends cleanly before the end"),
    ],
)
async def test_a_torn_stream_is_seen(events: list[SentEvent]) -> None:
    story = right()
    await Events(story).read(sent(events))
    assert counts(story)["torn"] == 1


def chunk(piece: str) -> SentEvent:
    return SentEvent(0, "", {"choices": [{"delta": {"content": piece}}]})


BROKEN_OFF = SentEvent(0, "error", {})
GONE = SentEvent(0, "error", {"error": {"code": "model_removed", "message": "gone"}})


@pytest.mark.parametrize(
    ("events", "removed", "expected"),
    [
        ([chunk("one two"), chunk(" three"), SentEvent(0, "", DONE)], False, {}),
        ([chunk("one two")], False, {"torn": 1}),
        ([chunk("one one"), BROKEN_OFF], False, {"torn": 1}),
        ([chunk("one two"), GONE], True, {"model_removed": 1}),
    ],
    ids=["finished", "unfinished, with a clean end", "broken, with another text", "its model was removed"],
)
async def test_a_chat_answer_is_judged_by_its_text_and_its_end(
    events: list[SentEvent], removed: bool, expected: dict[str, int]
) -> None:
    story = replace(right(), removed=removed, ends=set() if removed else {RIGHT})
    await Chat(story).read(sent(events))
    assert counts(story) == expected


LOST = Attempt(1, "w", 10.0, 14.0, "worker_lost")
AGAIN = Attempt(2, "v", 14.5, 15.0, "succeeded")
KILLED = InjectedFault("worker_killed", "worker-1", 7, 11.0, 11.0)
PAUSED = InjectedFault("redis_paused", "redis", None, 11.5, 13.0)
RESTARTED = InjectedFault("redis_killed", "redis", None, 8.0, 9.0)


@pytest.mark.parametrize(
    ("landed", "expected"),
    [
        ((KILLED,), [Recovery(3.5, after_restart=False)]),
        ((PAUSED, KILLED), [Recovery(1.5, after_restart=False)] * 2),
        ((RESTARTED, KILLED), [Recovery(1.0, after_restart=True), Recovery(3.5, after_restart=True)]),
    ],
)
def test_recovery_is_the_time_from_the_fault_to_the_next_claim_while_the_store_is_there(
    landed: tuple[InjectedFault, ...], expected: list[Recovery]
) -> None:
    story = replace(right(), attempts=(LOST, AGAIN))
    assert recoveries([story], landed, {"w": 7, "v": 8}, LEASE_S) == expected


@pytest.mark.parametrize(
    ("outcome", "fault", "explained"),
    [
        ("worker_lost", replace(KILLED, pid=8), False),
        ("worker_draining", KILLED, False),
        ("worker_draining", replace(KILLED, kind="worker_hung"), True),
    ],
)
def test_recovery_is_only_from_a_fault_of_its_worker(
    outcome: str, fault: InjectedFault, explained: bool
) -> None:
    story = replace(right(), attempts=(replace(LOST, outcome=outcome), AGAIN))
    assert bool(recoveries([story], [fault], {"w": 7, "v": 8}, LEASE_S)) == explained


def test_a_seed_makes_the_same_plan_again_and_every_kind_is_in_it() -> None:
    faults = plan(5, sum(DECK.values()), LEASE_S)
    assert faults == plan(5, sum(DECK.values()), LEASE_S)
    assert {fault.kind for fault in faults} == set(DECK)
    assert all(fault.for_s > LEASE_S for fault in faults if fault.kind == "worker_paused")
