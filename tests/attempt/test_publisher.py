"""What rows generate reaches readers once, in order, whatever the record store does meanwhile."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import pytest

from shared.result import Candidate, Choice, JobError, Piece, Result, TokenLogprob, Usage, logprobs_of
from shared.store.claims import settle
from shared.store.script import ScriptCall, Store
from tests.support.attempt_harness import LossyStore, WorkerHarness
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from tests.support.stored import change
from worker import publisher as stream_of_workers
from worker.lease import Lease
from worker.publisher import Channel, Publisher

T = TypeVar("T")


@contextmanager
def stream(harness: WorkerHarness, store: Store) -> Iterator[Channel]:
    """The stream of one claimed run."""
    publisher = Publisher(store)
    with harness.leases.hold(harness.claim()) as lease:
        (channel,) = publisher.channels(lease)
        publisher.start()
        try:
            yield channel
        finally:
            assert ends(publisher, lease)


def ends(publisher: Publisher, lease: Lease) -> bool:
    """Whether it stops by itself. Its claim is lost then, so that it stops in any case."""
    ending = threading.Thread(target=publisher.stop)
    ending.start()
    ending.join(PATIENCE_S)
    by_itself = not ending.is_alive()
    lease.stop("lost")
    return by_itself


def pieces(*texts: str) -> Iterator[Piece]:
    start = 0
    for number, text in enumerate(texts):
        yield Piece(start, text, (number,))
        start += len(text)


def settled(harness: WorkerHarness, channel: Channel) -> str:
    """The end of an attempt that went well."""
    answered = Result(
        choices=(Choice(text="", finish_reason="stop"),),
        usage=Usage(prompt_tokens=1, completion_tokens=1, image_tokens=0),
        fingerprint="f" * 32,
        compute_s=0.1,
    )
    rest = [piece for piece in [channel.rest()] if piece]
    call = settle(harness.settings, channel.lease.claim, answered, fingerprint="f" * 32, rest=rest)
    return harness.store.run(call)


def another_is_published(harness: WorkerHarness, channel: Channel) -> None:
    """The same publisher has looked at everything it was given before, and writes for others."""
    job = harness.ask("another")
    channel._publisher.channels(Lease(harness.claim()))[0].emit(Piece(0, "text", (0,)))
    until(lambda: harness.text(job) == "text")


def published_ids(harness: WorkerHarness, job: str) -> list[int]:
    return [i for e in harness.events(job) if e.type == "text" for i in e.data["ids"]]


class CountingStore(Store):
    """Says how many pieces went in each round trip; a piece of a claim named in `broken` breaks its whole."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.client)
        self.round_trips: list[int] = []
        self.broken = ""
        self.on = threading.Event()

    def run_all(self, calls: Sequence[ScriptCall[T]]) -> list[T]:
        self.round_trips.append(len(calls))
        assert self.on.wait(PATIENCE_S)
        if any(call.arguments["id"] == self.broken for call in calls):
            raise RuntimeError("no such piece was ever seen")
        return super().run_all(calls)


def test_a_settled_run_has_its_whole_text(harness: WorkerHarness) -> None:
    job = harness.ask("x")
    with stream(harness, harness.store) as channel:
        for piece in pieces("a red", " circle", " 🎈 on", " white"):
            channel.emit(piece)
        assert settled(harness, channel) == "settled"
        assert harness.text(job) == "a red circle 🎈 on white"
        assert published_ids(harness, job) == [0, 1, 2, 3]


@pytest.mark.parametrize("lost", ["calls", "replies"])
def test_what_was_lost_on_the_way_to_the_store_is_read_once(harness: WorkerHarness, lost: str) -> None:
    job = harness.ask("x")
    store = LossyStore(harness.store, **{lost: 2})
    with stream(harness, store) as channel:
        first, *rest = pieces("one", " two", " three")
        channel.emit(first)
        assert store.lost.wait(PATIENCE_S)
        for piece in rest:
            channel.emit(piece)
        settled(harness, channel)
    assert harness.text(job) == "one two three"
    assert published_ids(harness, job) == [0, 1, 2]


def test_pieces_that_come_while_the_store_is_slow_are_joined(harness: WorkerHarness) -> None:
    job = harness.ask("x")
    store = LossyStore(harness.store)
    store.on.clear()
    with stream(harness, store) as channel:
        for piece in pieces(*(f"{n} " for n in range(100))):
            channel.emit(piece)
        store.on.set()
        settled(harness, channel)
    assert harness.text(job) == "".join(f"{n} " for n in range(100))
    assert len([e for e in harness.events(job) if e.type == "text"]) <= 2


def test_ids_without_text_travel_with_the_next_text(harness: WorkerHarness) -> None:
    job = harness.ask("x")
    with stream(harness, harness.store) as channel:
        for piece in (
            Piece(0, "", (1, 2)),
            Piece(0, "é", (3,)),
            Piece(1, "", (4,)),
            Piece(1, "!", (5,)),
            Piece(2, "", (6,)),
        ):
            channel.emit(piece)
        settled(harness, channel)
    assert harness.text(job) == "é!"
    assert published_ids(harness, job) == [1, 2, 3, 4, 5]


def test_logprobs_reach_readers_with_the_text_of_their_tokens(harness: WorkerHarness) -> None:
    told = tuple(TokenLogprob(at, Candidate(f"t{at}", -0.5), ()) for at in range(4))
    job = harness.ask("x")
    with stream(harness, harness.store) as channel:
        channel.emit(Piece(0, "", (1,), told[:1]))
        channel.emit(Piece(0, "ab", (2, 3), told[1:3]))
        channel.emit(Piece(2, "", (4,), told[3:]))
        settled(harness, channel)
    assert [logprobs_of(e.data) for e in harness.events(job) if e.type == "text"] == [told[:3]]


def test_a_lost_claim_stops_its_row_and_does_not_hold_up_the_others(harness: WorkerHarness) -> None:
    lost_job, job = harness.ask("lost"), harness.ask("kept")
    publisher = Publisher(harness.store)
    publisher.start()
    lost, kept = Lease(harness.claim()), Lease(harness.claim())
    harness.cancel(lost_job)
    channels = publisher.channels(lost) + publisher.channels(kept)
    for channel in channels:
        channel.emit(Piece(0, "text", (0,)))
    assert lost.cancel.wait(PATIENCE_S)
    until(lambda: harness.text(job) == "text")
    publisher.stop()
    assert (lost.reason, lost.cancel.is_set()) == ("lost", True)
    assert (kept.reason, kept.cancel.is_set()) == ("", False)
    assert harness.text(lost_job) == ""


def test_the_first_words_come_at_once_and_the_last_ones_with_the_end(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between them, a run that speaks fast does not keep the store busy."""
    monkeypatch.setattr(stream_of_workers, "MIN_SPACING_S", 3600)
    job = harness.ask("x")
    with stream(harness, harness.store) as channel:
        first, *rest = pieces("one", " two", " three")
        channel.emit(first)
        until(lambda: harness.text(job) == "one")
        for piece in rest:
            channel.emit(piece)
        another_is_published(harness, channel)
        assert harness.text(job) == "one"
        assert settled(harness, channel) == "settled"
    assert [e.data.get("text") for e in harness.events(job)] == [None, None, "one", " two three", None]


def test_a_piece_that_cannot_be_written_holds_up_no_other_row(
    harness: WorkerHarness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_of_workers, "RETRY_S", 0.01)
    kept, broken = harness.ask("kept"), harness.ask("broken")
    store = CountingStore(harness.store)
    store.on.set()
    publisher = Publisher(store)
    leases = [Lease(harness.claim()) for _ in (kept, broken)]
    store.broken = leases[1].claim.id
    for lease in leases:
        publisher.channels(lease)[0].emit(Piece(0, "text", (0,)))
    publisher.start()
    until(lambda: harness.text(kept) == "text")
    until(lambda: store.round_trips[-1] == 1 and len(store.round_trips) > 4)
    store.broken = ""
    until(lambda: harness.text(broken) == "text")
    publisher.stop()
    assert store.round_trips[:3] == [2, 1, 1]
    said = (record for record in caplog.records if record.name == stream_of_workers.log.name)
    assert {record.message for record in said} == {
        f"the stream of {leases[1].claim.id} could not be written; it is tried again"
    }


def test_a_row_whose_pieces_are_refused_ends_with_its_whole_text(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_of_workers, "RETRY_S", 0.01)
    harness.ask("refused")
    store = CountingStore(harness.store)
    store.on.set()
    publisher, lease = Publisher(store), Lease(harness.claim())
    store.broken = lease.claim.id
    (channel,) = publisher.channels(lease)
    publisher.start()
    channel.emit(Piece(0, "so ", (0,)))
    until(lambda: len(store.round_trips) > 2)
    channel.emit(Piece(3, "far", (1,)))
    rest = channel.rest()
    publisher.stop()
    assert rest == Piece(0, "so far", (0, 1))


def test_a_claim_lost_in_mid_write_does_not_end_the_streams_of_the_others(harness: WorkerHarness) -> None:
    harness.ask("x")
    store = LossyStore(harness.store)
    store.on.clear()
    with stream(harness, store) as channel:
        channel.emit(Piece(0, "one", (0,)))
        until(lambda: channel.in_flight)
        channel.lease.stop("lost")
        assert channel.rest() is None
        store.on.set()
        another_is_published(harness, channel)


@pytest.mark.parametrize("pending", ["", " two"])
def test_a_text_that_the_store_forgot_is_not_ended_cleanly(harness: WorkerHarness, pending: str) -> None:
    """As after a failover to a replica that lagged; whether or not the last piece is still to come."""
    job = harness.ask("x")
    with stream(harness, harness.store) as channel:
        claim = channel.lease.claim
        channel.emit(Piece(0, "one", (0,)))
        until(lambda: harness.text(job) == "one" and not channel.in_flight)
        change(harness.store.client, claim.id, chars=0)
        rest = [Piece(3, pending, (1,)) if pending else channel.rest()]
        answered = JobError(code="internal_error", message="x")
        call = settle(
            harness.settings, claim, answered, fingerprint="f", rest=[each for each in rest if each]
        )
        assert harness.store.run(call) == "lost"
        assert harness.job(job).status == "running"


def test_a_worker_that_must_end_does_not_wait_for_a_store_that_is_gone(harness: WorkerHarness) -> None:
    job, gone = harness.ask("x"), LossyStore(harness.store, calls=10**9)
    with stream(harness, gone) as channel:
        channel.emit(Piece(0, "never told", (0,)))
        assert gone.lost.wait(PATIENCE_S)
    assert harness.text(job) == ""
