"""How workers claim: no more runs than fit into their rows, no earlier than needed, nudged or not."""

import logging
import math
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Literal, TypeAlias, TypeVar

from shared.store.claims import Claim, ClaimReply

log = logging.getLogger("worker")
T = TypeVar("T")
RECHECK_S = 2.0
"""Waiting threads claim again after this: rows may get free elsewhere, as when a claim's reply was lost."""
RECHECK_AHEAD_S = 0.1
"""As long where only this worker's own runs ahead are in the way: asking again costs the store nothing."""
LoopReply: TypeAlias = ClaimReply | Literal["ahead"]
"""`ahead`: as many runs are claimed as this worker needs for now."""
UNNOTICED_S = 0.05
"""A caller that could not be known when the runs before it were claimed waits so long for them at least."""
PLACES_EACH = 2
"""So many claims of one caller are prepared, or wait for it, for each request that is prepared at a time."""
CALLERS = 4
"""Claims are made for the inputs of so many callers at least, before such claims take rows."""
DIGEST = '"digest":"'
"""Names a picture, sound or video in a claim's request."""


class ClaimShares:
    """Claims that are at one thing, such as fetching: `each` of a caller's, `most` of all together."""

    def __init__(self, each: int, most: int = sys.maxsize) -> None:
        self._each, self.most = each, most
        self._lock = threading.Lock()
        self._claims: dict[str, Claim] = {}

    def add(self, claim: Claim) -> bool:
        """Whether there was room for it."""
        with self._lock:
            added = len(self._claims) < self.most
            if added:
                self._claims[claim.token] = claim
            return added

    def remove(self, token: str) -> bool:
        """The claim is at it no longer; whether it was."""
        return self._claims.pop(token, None) is not None

    def aside(self) -> set[str]:
        """Callers of whom nothing is to be claimed now."""
        if not self._claims:
            return set()
        counts = Counter(claim.caller for claim in tuple(self._claims.values()))
        return {caller for caller, count in counts.items() if count >= self._each}

    @property
    def rows(self) -> int:
        return sum(claim.rows for claim in tuple(self._claims.values()))


class Lookahead:
    """How many runs are claimed before their prompts' turn on the device: no more than keep it busy.

    A claimed run keeps its place, whoever comes later: priorities, fair shares and cancels decide the order
    only of runs that wait in the store. One whose pictures, sounds or videos are prepared is not counted
    meanwhile, so that it holds up no other: of these each caller has a share.
    """

    def __init__(self, places: int) -> None:
        """`places`: how many requests are prepared at the same time."""
        self._lock = threading.Lock()
        self._ahead = set[str]()
        self.preparing = ClaimShares(PLACES_EACH * places, CALLERS * PLACES_EACH * places)
        self.on_release: Callable[[], None] = lambda: None
        """Called when a claim is no longer ahead, save where nothing could be claimed in its place."""
        self.on_prepared: Callable[[], None] = lambda: None
        """Called when a claim's inputs are prepared, or never will be: its caller's next may be claimed."""

    def reserve(self, token: str, prompt_s: float) -> bool:
        """Count the claim to be made with this token; False where enough are ahead.

        `prompt_s` is that of the engine (`worker.engines.base`).
        """
        with self._lock:
            enough = max(1, math.ceil(UNNOTICED_S / prompt_s)) if prompt_s else math.inf
            if token not in self._ahead and len(self._ahead) >= enough:
                return False
            self._ahead.add(token)
            return True

    def prepare(self, claim: Claim) -> bool:
        """Whether the claim has inputs to prepare, and the worker room for that; harmless when repeated.

        A text that looks as if it named some only counts as if it did.
        """
        aside = DIGEST in claim.request and self.preparing.add(claim)
        if aside:
            with self._lock:
                self._ahead.discard(claim.token)
        return aside

    def prepared(self, token: str) -> None:
        if self.preparing.remove(token):
            with self._lock:
                self._ahead.add(token)
            self.on_prepared()

    def release(self, token: str, *, full: bool = False) -> None:
        """The claim's prompt has begun, or will never; harmless when repeated.

        `full`: the store has answered that this worker's rows are taken.
        """
        if self.preparing.remove(token):
            self.on_prepared()
        with self._lock:
            released = token in self._ahead
            self._ahead.discard(token)
        if released and not full:
            self.on_release()

    @contextmanager
    def until_begun(self, claim: Claim) -> Iterator[None]:
        """Around an attempt, which may end before its prompt has begun."""
        try:
            yield
        finally:
            self.release(claim.token)


class ClaimLoop:
    """What task threads work through; those that may claim none yet wait here for free rows.

    A waiting thread takes no nudges, and it passes on the one it came with, so that another worker learns of
    the waiting run. Once all threads work or wait, this worker gets no more nudges.
    """

    def __init__(self, claim: Callable[[], LoopReply], renudge: Callable[[], object], slots: int) -> None:
        """`claim` takes the best waiting run; `slots` are the rows that all claims together may take.

        `renudge` sends the nudge of a thread that must wait to another worker.
        """
        self._claim = claim
        self._renudge = renudge
        self._slots = slots
        self._rows = 0
        self._changes = 0
        self._changed = threading.Condition()

    def work(self, attempt: Callable[[Claim], ClaimReply]) -> None:
        """Attempt claims in this thread while any run waits; an attempt may claim the next as it ends."""
        reply: ClaimReply = self.claim(self._renudge)
        while reply is not None:
            if isinstance(reply, Claim):
                self._count(claimed := reply.rows)
                try:
                    reply = attempt(reply)
                finally:
                    self._count(-claimed)
            else:
                reply = self.claim()

    def claim(self, on_wait: Callable[[], object] = lambda: None) -> Claim | None:
        """The next claim, once rows are free for it; None where nothing waits.

        `on_wait` is called once, if they are not free at first.
        """
        waits = False
        while True:
            changes = self._changes
            reply = self._claim()
            if reply is None or isinstance(reply, Claim):
                return reply
            if reply != "again":
                if not waits:
                    on_wait()
                waits = True
                self._wait(changes, reply)

    def wake(self, threads: int = 1) -> None:
        """Let so many waiting threads claim again."""
        with self._changed:
            self._changes += 1
            self._changed.notify(threads)

    def wake_all(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _count(self, rows: int) -> None:
        """Count rows; if a claim leaves some free, wake a thread; one whose run ended claims anyway."""
        with self._changed:
            self._rows += rows
            self._changes += 1
            if rows > 0 and self._rows < self._slots:
                self._changed.notify()

    def _wait(self, changes: int, reply: LoopReply) -> None:
        """Wait for a change, which may already have come since `changes` was read."""
        longest_s = RECHECK_S if reply == "full" else RECHECK_AHEAD_S
        with self._changed:
            self._changed.wait_for(lambda: self._changes != changes, longest_s)


class AttemptThreads(Generic[T]):
    """Attempts in threads of their own, which claim nothing more."""

    def __init__(self, attempt: Callable[[T], None]) -> None:
        self._attempt = attempt
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, claim: T) -> None:
        thread = threading.Thread(target=self._attempt, args=(claim,), name="attempt", daemon=True)
        with self._lock:
            thread.start()
            self._threads = [thread for thread in self._threads if thread.is_alive()] + [thread]

    def count(self) -> int:
        return sum(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


POLL_S = 2.0
"""An idle worker looks for work at least this often."""


class IdlePoll(Generic[T]):
    """Brings all that waits to free rows by itself: nudges get lost, and Celery's consumer may be deaf."""

    def __init__(
        self,
        claim: Callable[[], T | None],
        threads: AttemptThreads[T],
        most: int,
        pause_s: float = POLL_S,
    ) -> None:
        """`claim` takes the next work, if need be once there is room, `threads` attempt it, up to `most`."""
        self._claim = claim
        self._threads = threads
        self._most = most
        self._pause_s = pause_s
        self._due = threading.Event()
        self._stopping = False
        self.leaves = False
        """Set before a claim that passes over callers who stand aside: their work may wait, for `wake`."""
        self._thread = threading.Thread(target=self._loop, name="idle-poll", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look no more, and wait until what was found has ended."""
        self._stopping = True
        self._due.set()
        if self._thread.is_alive():
            self._thread.join()
        self._threads.join()

    def wake(self) -> None:
        """Look now, if work was left that may be claimed again."""
        if self.leaves:
            self._due.set()

    def look(self) -> None:
        """Claim what waits, and attempt it in other threads."""
        self.leaves = False
        while self._threads.count() < self._most and (claimed := self._claim()):
            self._threads.start(claimed)

    def _loop(self) -> None:
        # Workers that were started together do not look together.
        while not self._stopping:
            self._due.wait(self._pause_s * random.uniform(0.5, 1))  # noqa: S311
            self._due.clear()
            try:
                self.look()
            except Exception:
                # The outermost frame of a look: the next one may go well.
                log.exception("a look for waiting work failed")
