"""A batch by hand: the turns of API processes one by one, answers and deaths between them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from api.admission.cached_answers import CachedAnswers
from api.admission.documents import Documents
from api.admission.media_check import PictureInfoCache
from api.admission.submission import Submission, Terms
from api.auth.callers import Caller
from api.batches.lease import BatchContext, LeasedBatch
from api.batches.turn import BatchTurn
from api.files import Files, FileWriter
from shared import ids
from shared.batch import Batch, BatchLease
from shared.blobs import Blobs
from shared.file import Written
from shared.media.documents import DocumentRenderer
from shared.models import Model, Models
from shared.request import Document, Message, Request, Text
from shared.settings import BlobSettings, QueueSettings, RedisSettings, Settings
from shared.store import batches, claims, files
from shared.store.headroom import Headroom
from shared.store.keys import BATCH
from shared.store.nudges import AsyncNudger
from shared.store.script import AsyncStore, connect, connect_async
from tests.support.batches import ENDPOINT, jsonl, rows
from tests.support.redis_server import RedisServer
from tests.support.scripted_worker import ScriptedWorker

MODELS = Models((Model(id="sightline/tiny", source="sightline/tiny"),))


@dataclass
class BatchHarness:
    """A store with one batch in it, API processes to be started, and a worker."""

    settings: Settings
    store: AsyncStore
    worker: ScriptedWorker
    nudger: AsyncNudger
    blobs: Blobs
    renderer: DocumentRenderer
    batch: str = ""

    def context(self, store: AsyncStore) -> BatchContext:
        """What a new API process works on batches with."""
        headroom = Headroom(store, self.settings.redis.full_at)
        files = Files(self.settings, store, self.blobs, headroom)
        submission = Submission(
            self.settings,
            MODELS,
            store,
            self.nudger,
            self.blobs,
            PictureInfoCache(self.settings.pictures, self.blobs),
            files,
            headroom,
            CachedAnswers(self.settings, store),
            Documents(self.settings, files),
        )
        storing = FileWriter(store, self.blobs)
        return BatchContext(self.settings, store, self.blobs, storing, submission, self.renderer)

    async def begin(self, lines: list[Any]) -> None:
        self.worker.store.client.flushdb()
        self.worker.beat()
        data, staged = jsonl(lines), self.blobs.stage()
        staged.write(data)
        self.blobs.adopt(staged)
        file = Written(ids.file_id(), "in", "batch", len(data), staged.digest, 3600, "upload:0")
        await self.store.run(files.create(file, "local"))
        self.batch = ids.batch_id()
        made = Batch(
            id=self.batch,
            caller="local",
            stage="validating",
            file=file.id,
            digest="",
            endpoint=ENDPOINT,
            created_ms=0,
            expires_ms=0,
            life_s=3600,
            metadata={},
            stages_ms={},
        )
        await self.store.run(batches.create(self.settings, made))

    async def begin_pages(self, document: bytes, count: int) -> None:
        """A job of pages, as the route makes it."""
        await self.begin([])
        staged = self.blobs.stage()
        staged.write(document)
        self.blobs.adopt(staged)
        file = Written(ids.file_id(), "a.pdf", "user_data", len(document), staged.digest, 3600, "upload:1")
        parts = (Document(), Text(text="what?"))
        question = Request(model="sightline/tiny", messages=(Message(role="user", parts=parts),))
        begun = await self.now()
        self.worker.store.client.flushdb()
        self.worker.beat()
        await self.store.run(files.create(file, "local"))
        self.batch = ids.batch_id()
        made = replace(begun, id=self.batch, file=file.id, endpoint="/v1/jobs")
        pages = ",".join(map(str, range(1, count + 1)))
        made = replace(made, question=question.model_dump_json(exclude_none=True), pages=pages)
        await self.store.run(batches.create(self.settings, made))

    async def take(self, context: BatchContext | None = None) -> LeasedBatch:
        """Take the batch, as if the lease of whoever held it had run out."""
        self.worker.store.client.zadd("sl9:lease:batch", {self.batch: 0}, xx=True)
        # However long nobody wrote meanwhile: leases have no grace.
        self.worker.store.client.delete("sl9:upkeep")
        await self.store.run(claims.rescue(self.settings))
        lease = await self.store.run(
            claims.claim(self.settings, lane=BATCH, worker="api", token=ids.token(), fingerprint="")
        )
        assert lease is not None
        held = BatchLease(lease.id, lease.token)
        batch = await self.store.run(batches.leased(held))
        assert batch is not None
        return LeasedBatch(context or self.context(self.store), held, batch)

    async def turn(self, context: BatchContext | None = None) -> LeasedBatch:
        """One turn of a process, which gives the batch back."""
        leased = await self.take(context)
        await BatchTurn(leased).run()
        await self.give_back(leased)
        return leased

    async def give_back(self, leased: LeasedBatch) -> None:
        await leased.context.store.run(batches.give_back(self.settings, leased.lease, 0))

    async def submit(self, text: str) -> str:
        """A job of the batch's caller that asks so."""
        asked = Request(model="sightline/tiny", messages=(Message(role="user", parts=(Text(text=text),)),))
        submission = self.context(self.store).submission
        return (await submission.submit(asked, Terms(Caller("local")))).id

    def answer(self) -> None:
        """The worker answers everything that waits."""
        while not self.worker.idle():
            claim = self.worker.take()
            text = json.loads(claim.request)["messages"][-1]["parts"][-1]["text"]
            self.worker.succeed(claim, str(text).upper())

    async def now(self) -> Batch:
        found = await self.store.run(batches.batch("local", self.batch))
        assert found is not None
        return found

    async def ended(self) -> bool:
        return (await self.now()).stage in ("completed", "cancelled", "expired", "failed")

    async def go_on(self) -> None:
        """Give one process turns, with answers between them, until the batch has ended."""
        context = self.context(self.store)
        for _ in range(20):
            if await self.ended():
                return
            await self.turn(context)
            self.answer()
        raise AssertionError(f"the batch stands still: {await self.now()}")

    async def written(self, file: str | None) -> list[dict[str, Any]]:
        if file is None:
            return []
        found = await self.store.run(files.file("local", file))
        assert found is not None
        return rows(self.blobs.read(found.digest))

    def jobs(self) -> int:
        keys = self.worker.store.client.keys("sl9:job_*")
        return sum(key.count(":") == 1 for key in keys)


@asynccontextmanager
async def opened(server: RedisServer, folder: Path) -> AsyncIterator[BatchHarness]:
    """A shop over an empty store; its blobs lie in the folder."""
    server.empty()
    settings = Settings(
        redis=RedisSettings(url=server.url()),
        blobs=BlobSettings(url=str(folder / "blobs")),
        queue=QueueSettings(max_queued=4000),
    )
    threads, store, nudger = (
        connect(settings.redis),
        connect_async(settings.redis),
        AsyncNudger(settings.redis),
    )
    worker = ScriptedWorker(settings, threads, MODELS.rows[0])
    renderer = DocumentRenderer(settings)
    yield BatchHarness(settings, store, worker, nudger, Blobs(settings.blobs), renderer)
    await asyncio.to_thread(renderer.close)
    await nudger.aclose()
    await store.aclose()
    threads.client.close()
