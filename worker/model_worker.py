"""One model worker process: its engine, its threads, and how it starts and stops."""

import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from shared import ids
from shared.blobs import Blobs
from shared.errors import ModelFailed, Unavailable
from shared.metrics.metric_types import serve
from shared.models import Model
from shared.settings import Settings, SettingsError
from shared.store.claims import Claim, ClaimReply, claim, within
from shared.store.nudges import Nudger
from shared.store.pipelined_store import connect_pipelined
from shared.store.script import ScriptCall, Store
from worker.attempt import AttemptContext, attempt
from worker.celery_app import Exit
from worker.claim_loop import AttemptThreads, ClaimLoop, IdlePoll, Lookahead, LoopReply
from worker.engines.base import Engine
from worker.engines.registry import create
from worker.fair_semaphore import FairSemaphore, prepare_concurrency
from worker.heartbeat import Heartbeat, slots_now
from worker.imports import uncollected
from worker.lease import Leases
from worker.media.picture_decoder import PictureDecoder
from worker.media.sound_decoder import SoundDecoder
from worker.media.video_decoder import VideoDecoder
from worker.publisher import Publisher
from worker.token_calibration import measure_tokens
from worker.watchdogs import BrokerWatch

log = logging.getLogger("worker")
REASON_CHARACTERS = 500
"""Characters of a reason that the records store."""


@dataclass(kw_only=True)
class ModelWorker:
    """Made by `open_model_worker` before Celery consumes; at its end call `drain`, then `close`.

    `worker` is its id, `slots` are the rows that its claims together may take while its engine has
    enough memory; `model` and `row` are those given to `open_model_worker`.
    """

    context: AttemptContext
    model: Model
    row: str | None
    slots: int
    worker: str
    heartbeat: Heartbeat
    broker_watch: BrokerWatch
    draining: threading.Event = field(default_factory=threading.Event, init=False)
    claim_loop: ClaimLoop = field(init=False)
    threads: AttemptThreads[Claim] = field(init=False)
    idle_poll: IdlePoll[Claim] = field(init=False)

    def __post_init__(self) -> None:
        renudge = partial(self.context.nudger.send, self.model.lane)
        lookahead, self.threads = self.context.lookahead, AttemptThreads(self._attempt_alone)
        self.claim_loop = ClaimLoop(self._claim, renudge, self.slots)
        self.idle_poll = IdlePoll(self._claim_prepared, self.threads, self.slots + lookahead.preparing.most)
        lookahead.on_release, lookahead.on_prepared = self.claim_loop.wake, self._claim_more

    def work(self, lane: str) -> None:
        """Answer one nudge: claim the best waiting run and attempt it, and repeat while any waits.

        A Celery task for each run would double the cost of a short one. A stale nudge finds nothing.
        """
        self.broker_watch.nudged()
        if self.draining.is_set():
            self.context.nudger.send(lane)
        self.claim_loop.work(self._attempt)

    def _attempt(self, claimed: Claim) -> ClaimReply:
        """In another thread where inputs are prepared first: this one goes on with what can begin."""
        if self.context.lookahead.prepare(claimed):
            self.threads.start(claimed)
            return "again"
        token, reply = ids.token(), cast(ClaimReply, None)
        try:
            reply = attempt(self.context, claimed, partial(self._next_claim, token))
        finally:
            self._release_unless_claimed(token, reply)
        self.broker_watch.nudged()
        return reply

    def _attempt_alone(self, claimed: Claim) -> None:
        self.broker_watch.nudged()
        attempt(self.context, claimed)
        # Others may have been told to wait for its rows.
        self.claim_loop.wake(claimed.rows)

    def _claim_more(self) -> None:
        self.claim_loop.wake()
        self.idle_poll.wake()

    def _claim_prepared(self) -> Claim | None:
        if claimed := self.claim_loop.claim():
            self.context.lookahead.prepare(claimed)
        return claimed

    def _claim(self) -> LoopReply:
        token, reply = ids.token(), cast(ClaimReply, None)
        if not self._takes_more:
            return None
        if (call := self._next_claim(token)) is None:
            return "ahead"
        try:
            reply = self.context.store.run(call)
        except Unavailable as error:
            # Waiting runs are looked for again.
            log.warning("claims wait: %s", error.message)
        finally:
            self._release_unless_claimed(token, reply)
        return reply

    @property
    def _takes_more(self) -> bool:
        return not (self.draining.is_set() or self.context.engine.broken)

    def _release_unless_claimed(self, token: str, reply: ClaimReply) -> None:
        if not isinstance(reply, Claim):
            self.context.lookahead.release(token, full=reply == "full")

    def _next_claim(self, token: str) -> ScriptCall[ClaimReply] | None:
        """None where this worker takes nothing more, or enough is claimed that has not begun."""
        engine, lookahead = self.context.engine, self.context.lookahead
        if not self._takes_more or not lookahead.reserve(token, engine.prompt_s):
            return None
        preparing = lookahead.preparing
        if preparing.aside():
            # Before it is read for the claim: one that is prepared meanwhile wakes.
            self.idle_poll.leaves = True
        call = claim(
            self.context.settings,
            lane=self.model.lane,
            worker=self.worker,
            token=token,
            fingerprint=engine.fingerprint,
            row=self.row,
            aside=preparing.aside(),
        )
        return within(slots_now(engine, self.slots) + preparing.rows, call)

    def drain(self) -> None:
        """Claim no more, and after the grace time give back the runs that have not ended."""
        self.draining.set()
        self.claim_loop.wake_all()
        self.heartbeat.drain()
        self.context.leases.drain_after(self.context.settings.queue.drain_s)

    def close(self) -> None:
        # Celery may end without a signal, and so without `drain`.
        self.draining.set()
        self.claim_loop.wake_all()
        self.idle_poll.stop()
        self.context.publisher.stop()
        self.heartbeat.stop({})
        self.context.picture_decoder.close()
        self.context.sound_decoder.close()
        self.context.video_decoder.close()


def open_model_worker(settings: Settings, model: Model, threads: int, row: str | None = None) -> ModelWorker:
    """Load the model, and report that from the first moment.

    `threads` are this worker's. `row` is the model's row as it was added, if no models file has it.

    Ends the process with exit code 71 if the model cannot be loaded; callers then read why.
    """
    store, nudger, leases = connect_pipelined(settings.redis), Nudger(settings.redis), Leases()
    worker = settings.worker.id or ids.worker_id()
    heartbeat = Heartbeat(settings, store, leases, worker=worker, lane=model.lane, row=row)
    engine, slots = _load(model, heartbeat, threads, settings.pictures.max_side)
    context = _open_context(settings, store, nudger, engine, leases)
    broker_watch = BrokerWatch(nudger, leases, lane=model.lane, slots=slots)
    serve(settings.metrics, [model.id])
    heartbeat.watch(broker_watch)
    # Only estimates wait for it: callers, who wait for the model, do not.
    measuring = partial(_report_tokens, engine, model, heartbeat, settings.pictures.max_side)
    threading.Thread(target=measuring, name="token rule", daemon=True).start()
    opened = ModelWorker(
        context=context,
        model=model,
        row=row,
        slots=slots,
        worker=worker,
        heartbeat=heartbeat,
        broker_watch=broker_watch,
    )
    opened.idle_poll.start()
    return opened


def _open_context(
    settings: Settings, store: Store, nudger: Nudger, engine: Engine, leases: Leases
) -> AttemptContext:
    publisher, concurrency = Publisher(store), prepare_concurrency()
    # One more, for a caller who has none.
    places = concurrency + 1
    publisher.start()
    return AttemptContext(
        settings,
        store,
        nudger,
        Blobs(settings.blobs),
        PictureDecoder(settings.pictures, places),
        SoundDecoder(settings.sounds, places),
        VideoDecoder(settings.videos, places),
        engine,
        publisher,
        leases,
        FairSemaphore(places, kept=1),
        Lookahead(concurrency),
    )


def _load(model: Model, heartbeat: Heartbeat, threads: int, max_side: int | None) -> tuple[Engine, int]:
    """The engine and the rows that claims may take; a claim beyond them, another worker could begin."""
    started = time.monotonic()
    heartbeat.start({"load_passed_ms": "0"}, loads=True)
    with _exit_on_failure(model, heartbeat):
        with uncollected():
            engine = create(model)
        guess, basis = engine.load_guess()
        heartbeat.report({"load_guess_ms": str(int(guess * 1000)), "load_basis": basis})
        engine = engine.load()
    took_s = time.monotonic() - started
    # The engine may compute fewer rows than the model's row says, by which the threads were counted.
    slots = slots_now(engine, threads)
    log.info("model %s is ready after %.1f s: %s", model.id, took_s, engine.fingerprint)
    ready = _facts(engine, model.source) | {
        "load_ms": str(int(took_s * 1000)),
        "slots": str(slots),
        "max_side": str(max_side or ""),
    }
    heartbeat.ready(engine.fingerprint, ready, engine)
    return engine, slots


def _report_tokens(engine: Engine, model: Model, heartbeat: Heartbeat, max_side: int | None) -> None:
    rule = measure_tokens(engine, model.id, max_side)
    heartbeat.add({"token_rule": rule.dumped() if rule else ""})


@contextmanager
def _exit_on_failure(model: Model, heartbeat: Heartbeat) -> Iterator[None]:
    """The outermost frame of loading: any exception ends the worker, and callers read its reason."""
    try:
        yield
    except Exception as error:
        expected = isinstance(error, SettingsError | ModelFailed) and error.__cause__ is None
        log.error("the model %s cannot be loaded: %s", model.id, error, exc_info=not expected)
        words = f"{type(error).__name__}: {error}".removesuffix(": ")
        reason = redact_folders(words, model.source)[:REASON_CHARACTERS]
        heartbeat.stop({"failed": reason})
        os._exit(Exit.MODEL_FAILED)


def _facts(engine: Engine, source: str) -> dict[str, str]:
    """What callers read about a loaded model; "" clears what an earlier worker reported."""
    facts = engine.facts
    return {
        "failed": "",
        "rows": str(engine.rows),
        "engine": engine.name,
        "engine_reason": redact_folders(engine.reason, source)[:REASON_CHARACTERS],
        "samples": "1" if facts.samples else "0",
        "context_length": str(facts.context_length),
        "tools": facts.tools or "none",
        "sampling_rate": str(facts.sampling_rate),
        "videos": "1" if facts.videos else "0",
    }


# Where a path may begin: not inside a word or an address, but after `file://`.
BEGIN = r"(?:(?<=file://)|(?<![\w/.~#…-])(?!(?<=:)//))"
# The folders of an absolute path; in quotation marks their names may have blanks.
FOLDERS = re.compile(rf"""(?<=["'])/+(?:[^/"'\n]+/+)+|{BEGIN}/+(?:[^\s/"']+/+)+""")


def redact_folders(reason: str, source: str = "") -> str:
    """A failure's reason as callers may read it: without the folders of this host; the log has it whole.

    `source`, the model's own folder, is hidden whatever its name; other names end at a blank.
    """
    folder = Path(source).expanduser()
    if source.startswith(("/", ".", "~")):
        name = folder.name or folder.resolve().name
        for own in {source.rstrip("/"), str(folder), str(folder.resolve())}:
            # A name without its folder, as of "./model", may be any word of the reason.
            if re.search(r"/[^/.~]", own):
                reason = re.sub(rf"{BEGIN}{re.escape(own)}(?![\w-])", lambda _: f"…/{name}", reason)
    return FOLDERS.sub("…/", reason)
