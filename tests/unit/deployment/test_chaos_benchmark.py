"""The chaos benchmark's own judgement: a checker that finds nothing proves nothing."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import pytest

from benchmarks.chaos.clients import DONE, Chat, Events, SentEvent
from benchmarks.chaos.faults import DECK, InjectedFault, Recovery, explain, plan, recoveries
from benchmarks.chaos.history import Attempt, End, History, Question, Story, judge
from benchmarks.frame import longest
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


def test_a_right_history_is_clean() -> None:
    assert counts(right()) == {}


def test_a_job_that_nobody_knows_any_more_is_lost() -> None:
    story = right()
    story.missing = True
    assert counts(story) == {"lost": 1}


@pytest.mark.parametrize("end", [End("failed", ""), End("cancelled", ""), End("succeeded", "one two")])
def test_a_job_that_ends_otherwise_than_it_should_is_lost(end: End) -> None:
    story = right()
    story.ends = {end}
    assert counts(story) == {"lost": 1}


def test_two_ends_of_one_job_are_seen() -> None:
    story = right()
    story.ends.add(End("failed", ""))
    assert counts(story) == {"lost": 1, "doubled": 1}


REMOVED, LOST_RUN = End("failed", "model_removed: gone"), End("failed", "internal_error: gone")


def test_the_failures_that_a_fault_explains_are_counted_apart() -> None:
    story = right()
    story.ends, story.removed = {REMOVED}, True
    assert counts(story) == {"model_removed": 1}
    story.ends, story.broken = {LOST_RUN}, {"job_1"}
    assert counts(story) == {"record_lost": 1}
    story.ends, story.missing = set(), True
    assert counts(story) == {"record_lost": 1}


def test_the_failures_of_another_job_s_fault_are_lost() -> None:
    story = right()
    story.ends, story.removed = {LOST_RUN}, True
    assert counts(story) == {"lost": 1}
    story.ends, story.broken, story.removed = {REMOVED}, {"job_1"}, False
    assert counts(story) == {"lost": 1}


def test_a_job_that_failed_by_a_fault_and_succeeded_as_well_has_two_ends() -> None:
    story = right()
    story.ends.add(LOST_RUN)
    story.broken = {"job_1"}
    assert counts(story) == {"doubled": 1, "record_lost": 1}


def test_the_job_after_one_whose_record_was_lost_is_not_doubled() -> None:
    story = right()
    story.ends.add(LOST_RUN)
    story.ids.add("job_0")
    story.broken = {"job_0"}
    assert counts(story) == {"record_lost": 1}


@pytest.mark.parametrize("reports", [set(), {"failed"}, {"failed", "succeeded"}])
def test_an_end_that_an_endpoint_was_not_told_is_seen(reports: set[str]) -> None:
    story = right()
    story.reports = {"one": {"succeeded"}, "other": {"succeeded"}}
    assert counts(story) == {}
    story.reports["other"] = reports
    assert counts(story) == {"untold": 1}


def test_a_fault_explains_failures_of_its_own_jobs_and_of_those_that_waited_at_its_time() -> None:
    hit, waited, later, early = right(), right(), right(), right()
    waited.ids, waited.life = {"job_2"}, (4.0, 6.5)
    later.ids, later.life = {"job_3"}, (8.0, 9.0)
    early.ids, early.life = {"job_4"}, (3.0, 4.0)
    broken = InjectedFault("record_broken", "run_1 r", None, 1.0, 1.0)
    removed = InjectedFault("model_removed", "m", None, 5.0, 6.0)
    explain([hit, waited, later, early], [broken, removed], {"run_1": {"job_1"}})
    assert [story.broken for story in (hit, waited, later, early)] == [{"job_1"}, set(), set(), set()]
    assert [story.removed for story in (hit, waited, later, early)] == [False, True, False, False]


async def test_a_streamed_answer_whose_job_a_fault_failed_ends_with_its_error() -> None:
    story = right()
    story.ends, story.removed = set(), True
    chat = Chat(story)
    failure = {"error": {"code": "model_removed", "message": "gone"}}
    await chat.read(sent([chunk("one two"), SentEvent(0, "error", failure)]))
    assert (chat.over, counts(story)) == (True, {"model_removed": 1})


def test_a_job_whose_record_was_lost_before_an_answer_named_it_is_not_stuck() -> None:
    broken = InjectedFault("record_broken", "job_7 r", None, 1.0, 1.0)
    first, second = Story(QUESTION, missing=True), Story(QUESTION, missing=True)
    explain([first, second], [broken], {})
    assert counts(first, set()) == {"record_lost": 1}
    assert counts(second, set()) == {"lost": 1}


def test_a_leader_whose_record_a_fault_overwrote_is_explained_as_its_followers_are() -> None:
    broken = InjectedFault("record_broken", "job_7 r", None, 1.0, 1.0)
    leader = Story(QUESTION, ids={"job_7"}, missing=True)
    follower = Story(QUESTION, ids={"job_8"}, missing=True)
    explain([leader, follower], [broken], {"job_7": {"job_8"}})
    assert counts(leader, set()) == counts(follower, set()) == {"record_lost": 1}


def test_an_answer_lost_after_its_end_is_no_second_end() -> None:
    story = right()
    story.ends.add(End("succeeded", ""))
    assert counts(story) == {"lost": 1, "doubled": 1}
    explain([story], [InjectedFault("record_broken", "run_1 r", None, 1.0, 1.0)], {"run_1": {"job_1"}})
    assert counts(story) == {"record_lost": 1}


def test_the_longest_call_of_each_function_is_known_by_its_plain_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = [(b"FCALL sl_0a1b2c3d4e_claim 0 {}", 1500), (b"fcall sl_0a1b2c3d4e_claim 0 {}", 900)]
    calls += [(b"FCALL sl_ffff_follow_first 0", 2500), (b"CONFIG SET maxmemory 1", 9000)]
    logs = iter([calls, [(b"FCALL sl_0a1b2c3d4e_claim 0 {}", 1200)]])
    read = lambda _: [{"command": text, "duration": us} for text, us in next(logs)]  # noqa: E731
    monkeypatch.setattr(longest, "_read", read)
    known = longest.LongestCalls()
    for _ in range(2):
        known.collect(None)
    assert list(known.figures.items()) == [("follow_first", 2.5), ("claim", 1.5)]


def test_two_jobs_for_one_key_are_seen() -> None:
    story = right()
    story.ids.add("job_2")
    assert counts(story, {"job_1", "job_2"}) == {"doubled": 1}


def test_a_job_that_no_client_was_told_of_is_seen() -> None:
    assert counts(right(), {"job_1", "job_9"}) == {"doubled": 1}


def test_the_job_of_a_client_who_got_no_answer_is_stuck_and_not_doubled() -> None:
    assert counts(Story(QUESTION), {"job_1"}) == {"stuck": 1}


def test_a_run_computed_to_its_end_twice_is_seen() -> None:
    story = right()
    story.attempts += (Attempt(2, "v", 2.0, 3.0, "succeeded"),)
    assert counts(story) == {"doubled": 1}


def test_a_job_without_an_end_is_stuck() -> None:
    story = right()
    story.ends = set()
    assert counts(story) == {"stuck": 1}


def test_a_question_that_was_never_accepted_is_stuck() -> None:
    assert counts(Story(QUESTION), set()) == {"stuck": 1}


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


async def test_an_unfinished_chat_answer_that_ends_cleanly_is_seen() -> None:
    story = right()
    await Chat(story).read(sent([chunk("one two")]))
    assert counts(story) == {"torn": 1}


async def test_a_broken_chat_answer_with_another_text_is_seen() -> None:
    story = right()
    await Chat(story).read(sent([chunk("one one"), SentEvent(0, "error", {})]))
    assert counts(story) == {"torn": 1}


async def test_a_finished_chat_answer_is_clean() -> None:
    story = right()
    chat = Chat(story)
    await chat.read(sent([chunk("one two"), chunk(" three"), SentEvent(0, "", DONE)]))
    assert (chat.over, story.flaws) == (True, [])


LOST = Attempt(1, "w", 10.0, 14.0, "worker_lost")
AGAIN = Attempt(2, "v", 14.5, 15.0, "succeeded")
KILLED = InjectedFault("worker_killed", "worker-1", 7, 11.0, 11.0)


def interrupted(*landed: InjectedFault) -> tuple[Recovery, ...]:
    story = right()
    story.attempts = (LOST, AGAIN)
    return recoveries([story], landed, {"w": 7, "v": 8}, LEASE_S).all


def test_recovery_is_the_time_from_the_fault_to_the_next_claim() -> None:
    assert interrupted(KILLED) == (Recovery("worker_killed", 3.5, after_restart=False, losses=1),)


def test_recovery_begins_when_the_record_store_is_back() -> None:
    paused = InjectedFault("redis_paused", "redis", None, 11.5, 13.0)
    assert set(interrupted(paused, KILLED)) == {
        Recovery("worker_killed", 1.5, after_restart=False, losses=1),
        Recovery("redis_paused", 1.5, after_restart=False),
    }


def test_recovery_behind_a_restart_is_counted_apart() -> None:
    restarted = InjectedFault("redis_killed", "redis", None, 8.0, 9.0)
    assert Recovery("worker_killed", 3.5, after_restart=True, losses=1) in interrupted(restarted, KILLED)


def test_an_attempt_given_up_without_a_fault_is_counted() -> None:
    story = right()
    story.attempts = (LOST, AGAIN)
    other = replace(KILLED, pid=8)
    assert recoveries([story], [other], {"w": 7, "v": 8}, LEASE_S).unexplained == {"worker_lost": 1}


def test_an_attempt_that_a_worker_gives_up_because_it_hangs_is_explained() -> None:
    story = right()
    story.attempts = (replace(LOST, outcome="worker_draining"), AGAIN)
    recovered = recoveries([story], [replace(KILLED, kind="worker_hung")], {"w": 7, "v": 8}, LEASE_S)
    assert recovered.unexplained == {}
    recovered = recoveries([story], [KILLED], {"w": 7, "v": 8}, LEASE_S)
    assert recovered.unexplained == {"worker_draining": 1}


def test_a_seed_makes_the_same_plan_again_and_every_kind_is_in_it() -> None:
    faults = plan(5, sum(DECK.values()), LEASE_S)
    assert faults == plan(5, sum(DECK.values()), LEASE_S)
    assert {fault.kind for fault in faults} == set(DECK)
    assert all(fault.for_s > LEASE_S for fault in faults if fault.kind == "worker_paused")
