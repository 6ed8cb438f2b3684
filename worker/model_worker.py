"""One model worker process: its engine, its threads, and how it starts and stops."""

import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared import ids
from shared.blobs import Blobs
from shared.errors import ModelFailed, Unavailable
from shared.metrics.reporter import Tally, start_telling
from shared.models import Model
from shared.settings import Settings, SettingsError
from shared.store.claims import Again, Claim, Full, claim, within
from shared.store.nudges import Nudger
from shared.store.script import connect
from worker.attempt import AttemptContext, attempt
from worker.celery_app import Exit
from worker.claim_loop import Claiming
from worker.engines.base import Engine
from worker.engines.registry import create
from worker.fair_share import FairSemaphore, prepare_concurrency
from worker.heartbeat import Heartbeat, slots_now
from worker.lease import Leases
from worker.media.picture_decoder import PictureDecoder
from worker.media.sound_decoder import SoundDecoder
from worker.publisher import Publisher
from worker.token_calibration import measured
from worker.watchdogs import BrokerWatch

# Reasons for failures as callers are told them; the log has them whole.

# An address stays whole, but for a file's; quotation marks and commas end it, as they do in what is no prose.
URL = r"""(?P<url>\b(?![a-z0-9+.-]*\bfile:)[a-z][a-z0-9+.-]*://[^\s"'<>(),;]+)"""
# Where a path may begin, and where the name of a folder ends.
BEGIN = r"(?:(?<=file://)|(?<=file://localhost)|(?<![\w/.~#…-])(?!(?<=:)//))"
END = r"""(?=$|[\s/"'`,;:)\]}>]|\.(?!\w))"""
# An absolute path and its last part; one in quotation marks may have blanks.
PATH = (
    r"""(?<=["'])/+(?:[^/"'\n]+/+)+(?P<quoted>[^/"'\n]*)(?=["'])"""
    rf"""|{BEGIN}/+(?:[^\s/"']+/+)+(?P<bare>[^\s/"',;:)]*)"""
)


def without_folders(reason: str, source: str = "") -> str:
    """Callers are not told where this machine keeps its files.

    `source`, the model's own folder, is known, and hidden whatever its name; other names end at a blank.
    """
    folder = Path(source)
    known: list[str] = []
    if folder.is_absolute() or source.startswith((".", "~")):
        written = {source.rstrip("/"), str(folder), str(folder.resolve()), str(folder.expanduser().resolve())}
        # A name without its folder, as of "./model", may be any word of the reason.
        known = sorted((one for one in written if re.search(r"/[^/.~]", one)), key=len, reverse=True)
    own = rf"{BEGIN}(?:{'|'.join(map(re.escape, known))}){END}" if known else r"(?!)"
    name = folder.name or folder.resolve().name

    def told(found: re.Match[str]) -> str:
        return found["url"] or f"…/{name if found['own'] else found['quoted'] or found['bare'] or ''}"

    return re.sub(rf"{URL}|(?P<own>{own})|{PATH}", told, reason)


log = logging.getLogger("worker")
REASON = 500
"""Characters of a reason that the records keep."""


@dataclass(kw_only=True)
class Node:
    """A model worker, made by `open_node` before Celery consumes; at its end call `drain`, then `close`.

    `worker` is its id, `slots` are the rows that its claims together may take while its engine is short of
    nothing; `model` and `row` are those given to `open_node`.
    """

    context: AttemptContext
    model: Model
    row: str | None
    slots: int
    worker: str
    heartbeat: Heartbeat
    hearing: BrokerWatch
    tally: Tally
    draining: threading.Event = field(default_factory=threading.Event, init=False)
    claiming: Claiming = field(init=False)

    def __post_init__(self) -> None:
        self.claiming = Claiming(self._claimed, lambda: self.context.nudger.send(self.model.lane), self.slots)

    def work(self, lane: str) -> None:
        """Answer one nudge: claim the best waiting run and attempt it, and go on while any waits.

        A Celery task for each run would double the cost of a short one. A stale nudge finds nothing.
        """
        self.hearing.nudged()
        if self.draining.is_set():
            self.context.nudger.send(lane)
        for taken in self.claiming.each():
            attempt(self.context, taken)
            self.hearing.nudged()

    def _claimed(self) -> Claim | Again | Full | None:
        if self.draining.is_set() or self.context.engine.broken:
            return None
        call = claim(
            self.context.settings,
            lane=self.model.lane,
            worker=self.worker,
            token=ids.token(),
            fingerprint=self.context.engine.fingerprint,
            row=self.row,
        )
        try:
            return self.context.store.run(within(slots_now(self.context.engine, self.slots), call))
        except Unavailable as error:
            # Waiting runs are nudged for again.
            log.warning("claims wait: %s", error.message)
            return None

    def drain(self) -> None:
        """Claim no more, and after the grace time give back the runs that have not ended."""
        self.draining.set()
        self.claiming.stir()
        self.heartbeat.drain()
        timer = threading.Timer(self.context.settings.queue.drain_s, self._give_back_all)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        self.context.publisher.stop()
        self.heartbeat.stop({})
        self.context.picture_decoder.close()
        self.context.sound_decoder.close()
        self.tally.stop()

    def _give_back_all(self) -> None:
        for lease in self.context.leases.all():
            lease.stop("draining")


def open_node(settings: Settings, model: Model, threads: int, row: str | None = None) -> Node:
    """Load the model, and tell the store so from the first moment.

    `threads` are this worker's. `row` is the model's row as it was added, if no models file has it.

    Ends the process with exit code 71 if the model cannot be loaded; callers then read why.
    """
    store, nudger, leases = connect(settings.redis), Nudger(settings.redis), Leases()
    worker = ids.worker_id()
    heartbeat = Heartbeat(settings, store, leases, worker=worker, lane=model.lane, row=row)
    engine, slots = _loaded(model, heartbeat, threads, settings.pictures.max_side)
    publisher = Publisher(store)
    publisher.start()
    most = prepare_concurrency()
    context = AttemptContext(
        settings,
        store,
        nudger,
        Blobs(settings.blobs),
        PictureDecoder(settings.pictures, most),
        SoundDecoder(settings.sounds, most),
        engine,
        publisher,
        leases,
        FairSemaphore(most),
    )
    hearing = BrokerWatch(nudger, leases, lane=model.lane, slots=slots)
    tally = start_telling(settings.metrics, store)
    heartbeat.watch(hearing, tally)
    return Node(
        context=context,
        model=model,
        row=row,
        slots=slots,
        worker=worker,
        heartbeat=heartbeat,
        hearing=hearing,
        tally=tally,
    )


def _loaded(model: Model, heartbeat: Heartbeat, threads: int, max_side: int) -> tuple[Engine, int]:
    """The engine and the rows that claims may take: what is taken beyond them, another worker could begin."""
    started = time.monotonic()
    with _told(model, heartbeat):
        engine = create(model)
        guess, basis = engine.load_guess()
    heartbeat.start(
        {
            "load_passed_ms": str(int((time.monotonic() - started) * 1000)),
            "load_guess_ms": str(int(guess * 1000)),
            "load_basis": basis,
        }
    )
    with _told(model, heartbeat):
        engine = engine.load()
    took_s = time.monotonic() - started
    rule = measured(engine, model.id, max_side)
    # The engine may compute fewer rows than the model's row says, by which the threads were counted.
    slots = slots_now(engine, threads)
    log.info("model %s is ready after %.1f s: %s", model.id, took_s, engine.fingerprint)
    ready = _facts(engine, model.source) | {
        "load_ms": str(int(took_s * 1000)),
        "slots": str(slots),
        "token_rule": rule.dumped() if rule else "",
    }
    heartbeat.ready(engine.fingerprint, ready, engine)
    return engine, slots


@contextmanager
def _told(model: Model, heartbeat: Heartbeat) -> Iterator[None]:
    """The outermost frame of loading: any exception ends the worker, and callers learn of it."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, SettingsError | ModelFailed) and error.__cause__ is None
        log.error("the model %s cannot be loaded: %s", model.id, error, exc_info=not known)
        reason = without_folders(f"{type(error).__name__}: {error}", model.source)[:REASON]
        heartbeat.stop({"failed": reason})
        os._exit(Exit.MODEL_FAILED)


def _facts(engine: Engine, source: str) -> dict[str, str]:
    """What callers are told about a loaded model; "" clears what an earlier worker told."""
    facts = engine.facts
    return {
        "failed": "",
        "rows": str(engine.rows),
        "engine": engine.name,
        "engine_reason": without_folders(engine.reason, source)[:REASON],
        "reused": "",
        "samples": "1" if facts.samples else "0",
        "context_length": str(facts.context_length),
        "chat_template": "1" if facts.has_chat_template else "0",
        "tools": facts.tools or "none",
        "sampling_rate": str(facts.sampling_rate),
    }
