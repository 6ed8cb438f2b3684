"""Fills a store as the release before does, with whose modules it is run.

Prints what callers see then, as JSON.
"""

import json
import sys
import time
from dataclasses import replace
from typing import Any

from pydantic_core import to_jsonable_python
from redis import Redis

from shared.api_keys import ApiKey
from shared.batch import LineProblem
from shared.file import Written
from shared.job import Times
from shared.store import api_keys, batches, files, models
from shared.store.script import Store
from shared.webhooks import EVENTS, Webhook
from tests.support import hooks, stored_batches
from tests.support.store import FAILURE, LANE, Records, answer

PICTURE = "c" * 64
OWN = Webhook("https://own.example/told", EVENTS, host="own.example")
TERMS = json.dumps({"lane": LANE, "revision": "", "priority": "normal", "cost": 3, "reuse": True})
OLD, OLD_FILE = "batch_" + "5" * 32, "file-" + "6" * 32
HOUR_MS = 3_600_000


class Scenes:
    """`jobs` are named after what became of them."""

    def __init__(self, records: Records) -> None:
        records.now = time.time_ns() // 10**6 - 60_000
        self.records = records
        self.jobs: dict[str, str] = {}

    def submit(self, name: str, question: str = "", said: dict[str, Any] | None = None, **terms: Any) -> str:
        placing = self.records.placing(question, **(said or {}))
        if placing.blobs:
            self.records.upload(placing)
            terms["uploaded"] = True
        view = self.records.post(placing, **terms).view
        assert view is not None
        self.jobs[name] = view.id
        self.records.wait(0.1)
        return view.id

    def ended(self, name: str, question: str = "", outcome: Any = None, **how: Any) -> None:
        self.submit(name, question, **how)
        claim = self.records.claim()
        self.records.append(claim, 0, "A red ")
        self.records.wait(0.2)
        self.records.settle(claim, outcome or answer(name))

    def play(self) -> None:
        self.records.beat()
        self.end_some()
        self.end_batch()
        self.begin_batch()
        self.let_some_wait()
        self.make_keys()
        self.records.run(models.add("model.other", '{"id":"other"}'))
        self.records.run(models.remove("model.gone"))

    def end_some(self) -> None:
        self.ended("succeeded", "same", metadata={"a": "b"}, idempotency="one", body_digest="body")
        self.submit("hit", "same")
        self.ended("failed", outcome=FAILURE)
        self.ended("pictured", said={"blobs": (PICTURE,)}, retain_s=500)
        self.ended("told", webhook=OWN)
        while delivery := self.records.next_delivery():
            self.records.tell(delivery)
        hooks.endpoint(self.records, url="https://all.example/")
        self.ended("untold", webhook=OWN)

    def let_some_wait(self) -> None:
        records = self.records
        self.submit("running", said={"priority": "interactive"})
        records.append(records.claim(), 0, "Half an ans")
        records.run(models.pause(LANE, paused=True))
        records.cancel(self.submit("cancelled", quiet=True))
        self.submit("normal", "joined", metadata={"k": "v"}, webhook=OWN)
        self.submit("joined", "joined")
        self.submit("urgent", said={"priority": "interactive", "caller": "shop", "cost": 7})
        far = records.now + HOUR_MS
        self.submit("timed", times=Times(start_by=far, finish_by=far + 1))
        self.submit("scheduled", times=Times(schedule_at=far), pending_terms=TERMS)
        self.submit("fetched", pending_terms=TERMS, idempotency="two")
        self.submit("unstored", stored=False, retain_s=60)

    def make_keys(self) -> None:
        run, key = self.records.run, ApiKey("key_0a", "shop", "shop", ("read",), 0, requests_per_minute=2)
        run(api_keys.create(key, "first"))
        run(api_keys.rotate(key.id, "second", 3600))
        run(api_keys.rotate(key.id, "third", 1800))
        run(api_keys.create(replace(key, id="key_0b"), "revoked"))
        run(api_keys.revoke("key_0b"))

    def begin_batch(self) -> None:
        """Of five lines one is written, one has ended, one is refused and one waits."""
        records = self.records
        # As that release has them.
        batch: Any = stored_batches
        transitions: Any = batches
        turn = batch.begun(records, total=5)
        batch.submit(records, 1)
        records.settle(records.claim())
        batch.write(records, turn)
        batch.submit(records, 2)
        records.settle(records.claim(), answer("line 2"))
        records.run(transitions.refuse(turn, batch.place(3), batch.REFUSAL))
        self.jobs["line 4"] = batch.submit(records, 4, priority="batch")

    def end_batch(self) -> None:
        """A caller's that has no webhook of its own."""
        records = self.records
        written = Written(OLD_FILE, "old.jsonl", "batch", 100, "e" * 64, 3600, "upload:2")
        records.run(files.create(written, "shop"))
        stored_batches.create(records, "shop", id=OLD, file=OLD_FILE)
        turn = stored_batches.take(records)
        records.run(batches.fail(records.settings, turn, [LineProblem("empty_file", "It is empty.")]))

    def seen(self) -> dict[str, Any]:
        views = {name: self.records.try_view(job, self.caller(name)) for name, job in self.jobs.items()}
        return {name: to_jsonable_python(view, fallback=str) for name, view in views.items()}

    def caller(self, name: str) -> str:
        return "shop" if name == "urgent" else "anyone"


if __name__ == "__main__":
    with Redis.from_url(sys.argv[1], decode_responses=True) as client:
        scenes = Scenes(Records(Store(client)))
        scenes.play()
        print(json.dumps(scenes.seen()))
