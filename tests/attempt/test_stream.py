"""What rows generate reaches readers once, in order, whatever the record store does meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.store.script import Store
from tests.support.workbench import Unsteady, Workbench
from worker.engines.base import Piece
from worker.lease import Lease
from worker.stream import Channel, Publisher


@contextmanager
def stream(desk: Workbench, store: Store) -> Iterator[Channel]:
    """The stream of one claimed run."""
    publisher = Publisher(store)
    publisher.start()
    try:
        with desk.leases.hold(desk.claim()) as lease:
            yield publisher.channel(lease)
    finally:
        publisher.stop()


def pieces(*texts: str) -> Iterator[Piece]:
    start = 0
    for number, text in enumerate(texts):
        yield Piece(start, text, (number,))
        start += len(text)


def published_ids(desk: Workbench, job: str) -> list[int]:
    return [i for e in desk.events(job) if e.type == "text" for i in e.data["ids"]]


def test_a_flushed_stream_is_with_its_readers(desk: Workbench) -> None:
    job = desk.ask("x")
    with stream(desk, desk.store) as channel:
        for piece in pieces("a red", " circle", " 🎈 on", " white"):
            channel.emit(piece)
        channel.flush()
        assert desk.text(job) == "a red circle 🎈 on white"
        assert published_ids(desk, job) == [0, 1, 2, 3]


@pytest.mark.parametrize("lost", ["calls", "replies"])
def test_what_was_lost_between_here_and_the_store_is_read_exactly_once(desk: Workbench, lost: str) -> None:
    job = desk.ask("x")
    store = Unsteady(desk.store, **{lost: 2})
    with stream(desk, store) as channel:
        first, *rest = pieces("one", " two", " three")
        channel.emit(first)
        assert store.lost.wait(30)
        for piece in rest:
            channel.emit(piece)
        channel.flush()
    assert desk.text(job) == "one two three"
    assert published_ids(desk, job) == [0, 1, 2]


def test_pieces_that_come_while_the_store_is_slow_are_joined(desk: Workbench) -> None:
    job = desk.ask("x")
    store = Unsteady(desk.store)
    store.on.clear()
    with stream(desk, store) as channel:
        for piece in pieces(*(f"{n} " for n in range(100))):
            channel.emit(piece)
        store.on.set()
        channel.flush()
    assert desk.text(job) == "".join(f"{n} " for n in range(100))
    assert len([e for e in desk.events(job) if e.type == "text"]) <= 2


def test_ids_without_text_travel_with_the_next_text(desk: Workbench) -> None:
    job = desk.ask("x")
    with stream(desk, desk.store) as channel:
        for piece in (
            Piece(0, "", (1, 2)),
            Piece(0, "é", (3,)),
            Piece(1, "", (4,)),
            Piece(1, "!", (5,)),
            Piece(2, "", (6,)),
        ):
            channel.emit(piece)
        channel.flush()
    assert desk.text(job) == "é!"
    assert published_ids(desk, job) == [1, 2, 3, 4, 5]


def test_a_lost_claim_stops_its_row_and_does_not_hold_up_the_others(desk: Workbench) -> None:
    lost_job, job = desk.ask("lost"), desk.ask("kept")
    publisher = Publisher(desk.store)
    publisher.start()
    lost, kept = Lease(desk.claim()), Lease(desk.claim())
    desk.cancel(lost_job)
    channels = publisher.channel(lost), publisher.channel(kept)
    for channel in channels:
        channel.emit(Piece(0, "text", (0,)))
        channel.flush()
    publisher.stop()
    assert (lost.reason, lost.cancel.is_set()) == ("lost", True)
    assert (kept.reason, kept.cancel.is_set()) == ("", False)
    assert desk.text(job) == "text"
    assert desk.text(lost_job) == ""
