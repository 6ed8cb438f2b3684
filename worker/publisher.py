"""Publishes what rows generate, from one thread per worker, so that an engine's step never waits for Redis.

An answer's first piece is written at once, and the rest at its end with the settling. Between them all
answers of a worker are written at the same moments, in one round trip, so that an API process that reads
several of them wakes once for all. The moments are as close as the load allows: writing may take a tenth of
the time.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from shared.errors import Unavailable
from shared.result import Piece, joined
from shared.store.claims import Renewal, append
from shared.store.script import Store
from worker.lease import Lease
from worker.telemetry.token_metrics import TokenLatency

log = logging.getLogger("worker")
MIN_SPACING_S, MAX_SPACING_S = 0.025, 0.1
SPACING = 10
"""Writing takes up a tenth of the time, if the limits allow it."""
RETRY_S = 0.5


class Channel:
    """The stream of one answer of an attempt.

    `choice` says which of several it is, `names` what else each piece says. `began_ns` is when its first
    token came (Unix ns), None before. `end` is an empty piece behind what is published, None where nothing
    is.
    """

    def __init__(self, publisher: "Publisher", lease: Lease, choice: int | None, **names: Any) -> None:
        self.lease = lease
        self.pending: list[Piece] = []
        self.in_flight = 0
        self.end: Piece | None = None
        self.has_begun = False
        self.began_ns: int | None = None
        self._names = {"choice": choice, **names}
        self._publisher = publisher
        self._latency = TokenLatency(lease, choice)

    def emit(self, piece: Piece) -> None:
        """Take a piece; returns at once."""
        if self.began_ns is None:
            self.began_ns = time.time_ns()
        if piece.ids:
            self._latency.record(len(piece.ids))
        self._publisher.put(self, piece)

    def rest(self) -> Piece | None:
        """What is not published yet, for the settling to publish; waits for a write in flight.

        Where that is nothing, `end`: a server that lost published text, as a replica may, settles nothing.
        """
        return self.whole(self._publisher.withdraw(self)) or (self.end and self.whole([self.end]))

    def whole(self, pieces: Sequence[Piece]) -> Piece | None:
        """The pieces as one, as readers get it."""
        piece = joined(pieces)
        return piece and piece._replace(**self._names)

    @property
    def ready(self) -> int:
        """How many pending pieces may be written.

        Ids without text (an end token) travel with the next text or not at all: a piece's place in the stream
        is its text's offset, and an attempt that resumes generates them again.
        """
        return next((n for n in range(len(self.pending), 0, -1) if self.pending[n - 1].text), 0)


Work = Sequence[tuple[Channel, Piece]]
Reply = Renewal | Literal["refused"] | None
"""None where the store could not be asked."""


def spacing_s(took_s: float) -> float:
    """Time between two writes of one answer, of which the first took so long."""
    return max(MIN_SPACING_S, min(SPACING * took_s, MAX_SPACING_S))


class Publisher:
    """Writes the pieces of all rows of a worker."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = threading.Condition()
        self._busy: dict[Channel, None] = {}
        self._next_write = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def channels(self, lease: Lease, n: int | None = None, **names: Any) -> list[Channel]:
        """One for each of `n` answers; with None a single one, whose pieces are not numbered.

        `names` are the `syntax` of the answers and the `prompt_tokens`.
        """
        numbers: Iterable[int | None] = [None] if n is None else range(n)
        return [Channel(self, lease, number, **names) for number in numbers]

    def put(self, channel: Channel, piece: Piece) -> None:
        with self._changed:
            channel.pending.append(piece)
            if not piece.text or channel in self._busy:
                return
            if not (self._busy and channel.has_begun):
                # The others are written at the next moment: a wake-up for every token slows a step.
                self._changed.notify_all()
            self._busy[channel] = None

    def withdraw(self, channel: Channel) -> list[Piece]:
        with self._changed:
            self._changed.wait_for(lambda: not channel.in_flight or channel.lease.reason == "lost")
            if channel.in_flight:
                # A lost claim settles nothing; the write in flight still needs the pending pieces.
                return []
            self._busy.pop(channel, None)
            return channel.pending[: channel.ready]

    def _loop(self) -> None:
        while (work := self._due()) is not None:
            began = time.monotonic()
            if not self._write(work):
                self._stopping.wait(RETRY_S)
            elif self._next_write <= began:
                self._next_write = began + spacing_s(time.monotonic() - began)

    def _due(self) -> Work | None:
        """Wait until something is to be written, and return it; None at the end."""
        with self._changed:
            while not self._stopping.is_set() or self._busy:
                pause_s = self._next_write - time.monotonic()
                is_over = pause_s <= 0 or self._stopping.is_set()
                due = [channel for channel in self._busy if is_over or not channel.has_begun]
                if due:
                    return [(channel, piece) for channel in due if (piece := self._next(channel))]
                self._changed.wait(pause_s if self._busy else None)
        return None

    def _next(self, channel: Channel) -> Piece | None:
        """What of the channel to write. If the last reply was lost, the same again: the store takes a piece
        that starts where it already has text for a repeat.
        """
        channel.has_begun = True
        channel.in_flight = channel.in_flight or channel.ready
        return channel.whole(channel.pending[: channel.in_flight])

    def _write(self, work: Work) -> bool:
        """Whether all is done; False if the store cannot be reached and some is left."""
        replies = self._append(work)
        done = [self._handle_reply(channel, reply) for (channel, _), reply in zip(work, replies, strict=True)]
        return all(done)

    def _append(self, work: Work) -> Sequence[Reply]:
        """What the store replied to each piece."""
        try:
            return self._store.run_all([append(channel.lease.claim, piece) for channel, piece in work])
        except Unavailable:
            return [None] * len(work)
        except Exception:
            # The outermost frame of this thread: without it no row of this worker would reach its readers.
            if len(work) > 1:
                return [reply for each in work for reply in self._append([each])]
            run = work[0][0].lease.claim.id
            log.exception("the stream of %s could not be written; it is tried again", run)
            return ["refused"]

    def _handle_reply(self, channel: Channel, reply: Reply) -> bool:
        lease = channel.lease
        # At the end of the process what is left is dropped: another worker gets the run soon.
        if reply in (None, "refused") and lease.reason != "lost" and not self._stopping.is_set():
            with self._changed:
                # Where nothing is in flight the row may end: its text comes with the settling.
                channel.in_flight = 0 if reply else channel.in_flight
                self._changed.notify_all()
            return False
        if reply == "lost":
            lease.stop("lost")
        with self._changed:
            for piece in channel.pending[: channel.in_flight]:
                channel.end = Piece(piece.start + len(piece.text), "", ())
            del channel.pending[: channel.in_flight]
            channel.in_flight = 0
            if not channel.ready:
                self._busy.pop(channel)
            self._changed.notify_all()
        return True
