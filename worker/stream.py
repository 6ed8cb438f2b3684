"""Publishes what rows generate, from one thread per worker, so that an engine's step never waits for Redis.

What comes while a write is under way is joined into the next one: events become larger, not later.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

from shared.errors import Unavailable
from shared.store.claims import append
from shared.store.script import Store
from worker.engines.base import Piece
from worker.lease import Lease

log = logging.getLogger(__name__)
GAP_S = 0.01
"""Least pause between two rounds of writes."""
RETRY_S = 0.5


class Channel:
    """The stream of one attempt."""

    def __init__(self, publisher: "Publisher", lease: Lease) -> None:
        self.lease = lease
        self.pending: list[Piece] = []
        self.attempting = 0
        self._held: tuple[int, ...] = ()
        self._publisher = publisher

    def emit(self, piece: Piece) -> None:
        """Take a piece; returns at once.

        Ids without text (an end token) travel with the next text or not at all: the place of a piece in the
        stream is its text's offset, and an attempt that goes on generates them again.
        """
        if not piece.text:
            self._held += piece.ids
            return
        self._publisher.put(self, replace(piece, ids=self._held + piece.ids))
        self._held = ()

    def flush(self) -> None:
        """Until everything is published, or the claim is lost or stopped."""
        self._publisher.wait_for(self)


class Publisher:
    """Writes the pieces of all rows of a worker."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = threading.Condition()
        self._busy: list[Channel] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def channel(self, lease: Lease) -> Channel:
        return Channel(self, lease)

    def put(self, channel: Channel, piece: Piece) -> None:
        with self._changed:
            channel.pending.append(piece)
            if channel not in self._busy:
                self._busy.append(channel)
            self._changed.notify_all()

    def wait_for(self, channel: Channel) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: not channel.pending or channel.lease.reason == "lost" or self._stopping.is_set()
            )

    def _publish(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._busy or self._stopping.is_set())
                if self._stopping.is_set() and not self._busy:
                    return
                work = [(channel, self._batch(channel)) for channel in self._busy]
            for channel, pieces in work:
                if not self._write(channel, pieces):
                    self._stopping.wait(RETRY_S)
            self._stopping.wait(GAP_S)

    def _batch(self, channel: Channel) -> Sequence[Piece]:
        """The pieces of the next write.

        One whose reply was lost is repeated as it was: the store takes a piece that starts where it has text
        already for a repeat.
        """
        channel.attempting = channel.attempting or len(channel.pending)
        return tuple(channel.pending[: channel.attempting])

    def _write(self, channel: Channel, pieces: Sequence[Piece]) -> bool:
        """Whether the pieces are dealt with; False = the store is out of reach, they stay."""
        text = "".join(p.text for p in pieces)
        tokens = [i for p in pieces for i in p.ids]
        try:
            held = self._store.run(append(channel.lease.claim, start=pieces[0].start, text=text, ids=tokens))
        except Unavailable:
            held = None
        except Exception:
            # The outermost frame of this thread: without it no row of this worker would reach its readers.
            log.exception("the stream of %s could not be written; it is tried again", channel.lease.claim.id)
            held = None
        if held is None:
            return channel.lease.reason == "lost" and self._done(channel, len(pieces))
        if held == "lost":
            channel.lease.stop("lost")
        return self._done(channel, len(pieces))

    def _done(self, channel: Channel, count: int) -> bool:
        with self._changed:
            del channel.pending[:count]
            channel.attempting = 0
            if not channel.pending:
                self._busy.remove(channel)
            self._changed.notify_all()
        return True
