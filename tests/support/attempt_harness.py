"""A model worker without Celery: claims, attempts and threads, driven by hand over a real record store."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from shared import ids
from shared.blobs import Blobs, digest
from shared.cache_key import request_hash
from shared.errors import Unavailable
from shared.job import Event, JobView
from shared.models import Model
from shared.request import Image, Medium, Message, Parameters, Request, Text
from shared.result import JobError, Result
from shared.settings import (
    BlobSettings,
    FetchSettings,
    PictureSettings,
    QueueSettings,
    RedisSettings,
    Settings,
    SoundSettings,
    VideoSettings,
)
from shared.store import jobs
from shared.store.admission import Placing, submit
from shared.store.claims import Claim, claim, rescue
from shared.store.nudges import Nudger
from shared.store.script import ScriptCall, Store, connect
from shared.store.workers import beat
from tests.support.patience import PATIENCE_S
from tests.support.redis_server import RedisServer
from worker.attempt import AttemptContext, attempt
from worker.claim_loop import Lookahead
from worker.engines.base import Engine
from worker.engines.echo import EchoEngine
from worker.fair_semaphore import MIN_CONCURRENCY, FairSemaphore
from worker.heartbeat import Heartbeat
from worker.lease import Leases
from worker.media.picture_decoder import PictureDecoder
from worker.media.sound_decoder import SoundDecoder
from worker.media.video_decoder import VideoDecoder
from worker.publisher import Publisher

T = TypeVar("T")
R = TypeVar("R")
CALLER = "anyone"
NO_FETCHING = FetchSettings()
FAIL, STALL = "FAIL", "STALL"
MODEL = Model(id="test/echo", engine="echo", rows=4, options={"fail_on": FAIL, "stall_on": STALL})


class LossyStore(Store):
    """Loses the calls, or the replies, that it is told to lose; `lost` says that one was."""

    def __init__(self, store: Store, *, calls: int = 0, replies: int = 0) -> None:
        super().__init__(store.client)
        self._calls = calls
        self._replies = replies
        self.lost = threading.Event()
        self.on = threading.Event()
        self.on.set()

    def run(self, call: ScriptCall[T]) -> T:
        return self._told(lambda: super(LossyStore, self).run(call))

    def run_all(self, calls: Sequence[ScriptCall[T]]) -> list[T]:
        return self._told(lambda: super(LossyStore, self).run_all(calls))

    def _told(self, ask: Callable[[], R]) -> R:
        assert self.on.wait(PATIENCE_S)
        try:
            return self._run(ask)
        except Unavailable:
            self.lost.set()
            raise

    def _run(self, ask: Callable[[], R]) -> R:
        if self._calls:
            self._calls -= 1
            raise Unavailable("store_unavailable", "lost on the way")
        reply = ask()
        if self._replies:
            self._replies -= 1
            raise Unavailable("store_unavailable", "lost on the way back")
        return reply


class WorkerHarness:
    """One worker. A question holding FAIL raises in its engine, one holding STALL hangs until cancelled."""

    def __init__(self, redis: RedisServer, folder: Path, fetch: FetchSettings, **queue: Any) -> None:
        self.redis = redis
        self.settings = Settings(
            redis=RedisSettings(url=redis.url()),
            blobs=BlobSettings(url=str(folder)),
            fetch=fetch,
            pictures=PictureSettings(decode_limit_s=PATIENCE_S),
            sounds=SoundSettings(decode_limit_s=PATIENCE_S),
            videos=VideoSettings(decode_limit_s=PATIENCE_S),
            queue=QueueSettings(**{"lease_s": 10, "renew_s": 0.1, "backoff_s": 0, **queue}),
        )
        self.worker = ids.worker_id()
        self.store = connect(self.settings.redis)
        self.nudger = Nudger(self.settings.redis)
        self.blobs = Blobs(self.settings.blobs)
        self.leases = Leases()
        self.context = AttemptContext(
            settings=self.settings,
            store=self.store,
            nudger=self.nudger,
            blobs=self.blobs,
            picture_decoder=PictureDecoder(self.settings.pictures),
            sound_decoder=SoundDecoder(self.settings.sounds),
            video_decoder=VideoDecoder(self.settings.videos),
            engine=EchoEngine(MODEL),
            publisher=Publisher(self.store),
            leases=self.leases,
            preparing=FairSemaphore(MIN_CONCURRENCY),
            lookahead=Lookahead(MIN_CONCURRENCY),
        )
        self.context.publisher.start()

    def close(self) -> None:
        self.context.publisher.stop()
        self.context.picture_decoder.close()
        self.context.sound_decoder.close()
        self.context.video_decoder.close()
        self.store.client.close()
        self.nudger._client.close()

    def ask(self, text: str, *pictures: bytes, **parameters: Any) -> str:
        """A job with a new run, its pictures in the blob store; its id."""
        names = tuple(digest(p) for p in pictures)
        for name, data in zip(names, pictures, strict=True):
            self.blobs.write(name, data)
        images = tuple(Image(digest=name) for name in names)
        placing = self.placing(text, images, blobs=names, parameters=Parameters(**parameters))
        assert self.store.run(submit(placing, self.settings, uploaded=True)).word == "queued"
        return placing.job

    def placing(
        self,
        text: str,
        images: tuple[Medium, ...],
        *,
        blobs: tuple[str, ...] = (),
        parameters: Parameters | None = None,
    ) -> Placing:
        """A question as the door hands it to the store."""
        question = Request(
            model=MODEL.id,
            messages=(Message(role="user", parts=(Text(text=text), *images)),),
            parameters=parameters or Parameters(),
        )
        pending = any(image.url for image in images)
        hashed = "" if pending else request_hash(question, MODEL.revision)
        return Placing(
            job=ids.job_id(),
            caller=CALLER,
            model=MODEL.id,
            lane=MODEL.lane,
            priority="normal",
            hash=hashed,
            key=None if pending else f"{CALLER}:{hashed}",
            blobs=blobs,
            cost=1,
            request=question.model_dump_json(exclude_none=True),
            rows=question.parameters.rows(model_default=False),
        )

    def heartbeat(self, store: Store | None = None, model: Model = MODEL, **how: Any) -> Heartbeat:
        said = {"worker": self.worker, "lane": model.lane, **how}
        return Heartbeat(self.settings, store or self.store, self.leases, **said)

    def claim(self, fingerprint: str | None = None) -> Claim:
        """The next waiting run."""
        taken = self.claim_if_any(fingerprint)
        assert taken is not None
        return taken

    def claim_if_any(self, fingerprint: str | None = None, lane: str = MODEL.lane) -> Claim | None:
        name = fingerprint or self.context.engine.fingerprint
        call = claim(self.settings, lane=lane, worker=self.worker, token=ids.token(), fingerprint=name)
        return self.store.run(call)

    def give_up(self) -> None:
        """Rescue at a time past every lease, as if all workers were dead."""
        later = self.store.client.time()[0] * 1000 + 3_600_000
        call = rescue(self.settings)
        self.store.run(replace(call, arguments={**call.arguments, "now": later}))

    def beat(self) -> None:
        """Say that this worker serves."""
        name = self.context.engine.fingerprint
        self.store.run(
            beat(
                self.settings, worker=self.worker, lane=MODEL.lane, state="ready", fingerprint=name, facts={}
            )
        )

    def attempt(self, engine: Engine | None = None) -> None:
        """Claim the next run and bring the attempt to its end."""
        context = replace(self.context, engine=engine) if engine else self.context
        attempt(context, self.claim())

    @contextmanager
    def attempting(self) -> Iterator[Claim]:
        """An attempt in a thread of its own; it has ended when the block has."""
        taken = self.claim()
        thread = threading.Thread(target=attempt, args=(self.context, taken), daemon=True)
        thread.start()
        try:
            yield taken
        finally:
            thread.join(PATIENCE_S)
        assert not thread.is_alive()

    def job(self, job: str) -> JobView:
        view = self.store.run(jobs.view(self.settings, CALLER, job))
        assert view is not None
        return view

    def failure(self, job: str) -> JobError:
        error = self.job(job).error
        assert error is not None
        return error

    def result(self, job: str) -> Result:
        result = self.job(job).result
        assert result is not None
        return result

    def cancel(self, job: str) -> None:
        self.store.run(jobs.cancel(self.settings, CALLER, job))

    def events(self, job: str) -> list[Event]:
        event_page = self.store.run(jobs.follow(CALLER, job, 0, first=True))
        assert event_page is not None
        return list(event_page.events)

    def story(self, job: str) -> list[str]:
        """The kinds of a job's events, text left out."""
        return [e.type for e in self.events(job) if e.type != "text"]

    def text(self, job: str) -> str:
        """What a job's readers have, after checking that it has neither gap nor repeat."""
        text = ""
        for event in self.events(job):
            if event.type == "text":
                assert event.data["start"] == len(text)
                text += event.data["text"]
        return text


@contextmanager
def worker_harness(
    redis: RedisServer, fetch: FetchSettings = NO_FETCHING, **queue: Any
) -> Iterator[WorkerHarness]:
    with ExitStack() as stack:
        folder = stack.enter_context(
            TemporaryDirectory(prefix="sightline-blobs-", ignore_cleanup_errors=True)
        )
        harness = WorkerHarness(redis, Path(folder), fetch, **queue)
        stack.callback(harness.close)
        yield harness
