"""Publishes what rows generate, from one thread per worker, so that an engine's step never waits for Redis.

An answer's first piece is written at once, the following ones at most ten times a second, and the rest at its
end with the settling. Readers hardly see a difference, and the store has a tenth of the work. All answers of
a worker are written at the same moments, in one round trip, so that an API process that reads several of them
wakes once for all.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from shared.errors import Unavailable
from shared.result import Piece, joined
from shared.store.claims import Renewal, append
from shared.store.script import Store
from shared.tool_calls.syntax import Syntax
from worker.lease import Lease
from worker.telemetry.token_metrics import TokenLatency

log = logging.getLogger("worker")
SPACING_S = 0.1
"""Time between two writes of one answer."""
RETRY_S = 0.5


class Channel:
    """The stream of one answer of an attempt.

    `choice` says which of several it is, `syntax` how it may call functions, `prompt_tokens` how long the
    prompt is. `began_ns` is when its first token came (Unix ns), None before.
    """

    def __init__(
        self,
        publisher: "Publisher",
        lease: Lease,
        choice: int | None = None,
        syntax: Syntax | None = None,
        prompt_tokens: int | None = None,
    ) -> None:
        self.lease = lease
        self.choice = choice
        self._syntax = syntax
        self._prompt_tokens = prompt_tokens
        self.pending: list[Piece] = []
        self.in_flight = 0
        self.due = 0.0
        self.began_ns: int | None = None
        self._unsent: list[Piece] = []
        self._publisher = publisher
        self._latency = TokenLatency(lease, choice)

    def emit(self, piece: Piece) -> None:
        """Take a piece; returns at once.

        Ids without text (an end token) travel with the next text or not at all: a piece's place in the stream
        is its text's offset, and an attempt that resumes generates them again.
        """
        if self.began_ns is None:
            self.began_ns = time.time_ns()
        if piece.ids:
            self._latency.record(len(piece.ids))
        self._unsent.append(piece)
        if piece.text and (whole := joined(self._unsent)):
            named = replace(whole, choice=self.choice, syntax=self._syntax, prompt_tokens=self._prompt_tokens)
            self._publisher.put(self, named)
            self._unsent = []

    def rest(self) -> Piece | None:
        """What is not published yet, for the settling to publish; waits for a write in flight."""
        return joined(self._publisher.withdraw(self))


class Write(NamedTuple):
    """The first `pieces` of a channel's pending ones, joined into one."""

    channel: Channel
    piece: Piece
    pieces: int


class Publisher:
    """Writes the pieces of all rows of a worker."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = threading.Condition()
        self._busy: list[Channel] = []
        self._stopping = threading.Event()
        self._started_at = time.monotonic()
        self._thread = threading.Thread(target=self._loop, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def channels(
        self,
        lease: Lease,
        n: int | None = None,
        syntax: Syntax | None = None,
        prompt_tokens: int | None = None,
    ) -> list[Channel]:
        """One for each of `n` answers; with None a single one, whose pieces are not numbered."""
        numbers: Iterable[int | None] = [None] if n is None else range(n)
        return [Channel(self, lease, number, syntax, prompt_tokens) for number in numbers]

    def put(self, channel: Channel, piece: Piece) -> None:
        with self._changed:
            channel.pending.append(piece)
            if channel not in self._busy:
                # A busy channel is written at its next interval: a wake-up for every token slows a step.
                self._busy.append(channel)
                self._changed.notify_all()

    def withdraw(self, channel: Channel) -> list[Piece]:
        with self._changed:
            self._changed.wait_for(lambda: not channel.in_flight or channel.lease.reason == "lost")
            if channel.in_flight:
                # A lost claim settles nothing; the write in flight still needs the pending pieces.
                return []
            pieces, channel.pending = channel.pending, []
            if channel in self._busy:
                self._busy.remove(channel)
            return pieces

    def _loop(self) -> None:
        while (work := self._due()) is not None:
            if not self._write(work):
                self._stopping.wait(RETRY_S)

    def _due(self) -> list[Write] | None:
        """Wait until something is to be written, and return it; None at the end."""
        with self._changed:
            while not self._stopping.is_set() or self._busy:
                now = time.monotonic()
                due = [c for c in self._busy if c.due <= now or self._stopping.is_set()]
                if due:
                    return [write for channel in due if (write := self._next(channel))]
                self._changed.wait(min(c.due for c in self._busy) - now if self._busy else None)
        return None

    def _next(self, channel: Channel) -> Write | None:
        """The channel's next write. If the last one's reply was lost, the same again: the store takes a piece
        that starts where it already has text for a repeat.
        """
        channel.in_flight = channel.in_flight or len(channel.pending)
        whole = joined(channel.pending[: channel.in_flight])
        return Write(channel, whole, channel.in_flight) if whole else None

    def _write(self, work: Sequence[Write]) -> bool:
        """Whether all is done; False if the store cannot be reached and some is left."""
        replies = self._append(work)
        done = [self._handle_reply(write, reply) for write, reply in zip(work, replies, strict=True)]
        return all(done)

    def _append(self, work: Sequence[Write]) -> Sequence[Renewal | None]:
        """What the store replied to each write; None if it could not be asked."""
        try:
            return self._store.run_all([append(each.channel.lease.claim, each.piece) for each in work])
        except Unavailable:
            return [None] * len(work)
        except Exception:
            # The outermost frame of this thread: without it no row of this worker would reach its readers.
            if len(work) > 1:
                return [reply for write in work for reply in self._append([write])]
            run = work[0].channel.lease.claim.id
            log.exception("the stream of %s could not be written; it is tried again", run)
            return [None]

    def _handle_reply(self, write: Write, reply: Renewal | None) -> bool:
        lease = write.channel.lease
        if reply is None:
            # At the end of the process what is left is dropped: another worker gets the run soon.
            dropped = lease.reason == "lost" or self._stopping.is_set()
            return dropped and self._done(write)
        if reply == "lost":
            lease.stop("lost")
        return self._done(write)

    def _done(self, write: Write) -> bool:
        channel = write.channel
        with self._changed:
            del channel.pending[: write.pieces]
            channel.in_flight = 0
            channel.due = self._next_write()
            if not channel.pending:
                self._busy.remove(channel)
            self._changed.notify_all()
        return True

    def _next_write(self) -> float:
        """All rows are written at the same moments, so that they and their readers share round trips."""
        intervals = (time.monotonic() - self._started_at) // SPACING_S
        return self._started_at + (intervals + 1) * SPACING_S
