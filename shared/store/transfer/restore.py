"""Takes what was exported into a store, through the functions that its callers and processes use.

Each line can be taken in again: what is there already stays as it is.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any

from pydantic_core import to_json

from shared.file import Written
from shared.job import Times
from shared.settings import Settings
from shared.store import api_keys, files, models
from shared.store.admission import JobTerms, Placing, submit
from shared.store.api_keys import KEPT_S, KEYS, NOBODY
from shared.store.batches import BATCHES
from shared.store.constants import constants
from shared.store.files import FILES
from shared.store.headroom import memory
from shared.store.keys import BATCH
from shared.store.maintenance import lead
from shared.store.records import Command, RecordKind, flat, read
from shared.store.script import ScriptCall, Store, store_errors
from shared.store.transfer.lines import (
    BatchLine,
    BatchPlaceLine,
    End,
    EndpointLine,
    FileLine,
    JobLine,
    Kept,
    KeyLine,
    Mark,
    ModelLine,
    Secret,
)
from shared.store.webhook_endpoints import ENDPOINTS
from shared.webhooks import MOST_FORMER

NAME = "import"
"""As a leader of the maintenance, and as a process that works on batches."""
LEADS_MS = 10_000
"""Longer than one piece takes: after the last one a courier leads so soon."""
NO_LIMIT = 10**9


class RefusedError(Exception):
    """Nothing more is taken in; the message says why."""


class StoreWriter:
    """`counts` has how many were taken in, by kind, `known` how many were there before.

    `left_out` counts what could not be taken in.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        # What was accepted once is not refused now, and the log reads no record for longer than it is kept.
        own = json.loads(constants(settings))
        lives = {name: max(own[name], own["event_s"]) for name in ("job_s", "result_s")}
        self._constants = own | lives | {"max_queued": NO_LIMIT}
        self._closed = list[ModelLine]()
        self._now_ms = 0
        self.counts, self.known, self.left_out = Counter[str](), Counter[str](), Counter[str]()

    def take(self, lines: Sequence[Kept], bytes: int) -> None:
        """Take in what `bytes` of an export hold. Raises Unavailable, RefusedError."""
        if not self._store.run(lead(NAME, LEADS_MS)):
            raise RefusedError(
                "A courier runs on this store, and would delete pictures of jobs that are to come: stop it."
            )
        self._check_room(bytes)
        self._now_ms = self._time()
        takers: dict[type, Callable[[Any], bool]] = {
            ModelLine: self._model,
            KeyLine: self._key,
            EndpointLine: self._endpoint,
            FileLine: self._file,
            BatchLine: self._batch,
            BatchPlaceLine: self._place_batch,
        }
        for kind, alike in groupby(lines, key=type):
            if kind is JobLine:
                self._jobs([line for line in alike if isinstance(line, JobLine)])
            else:
                for line in alike:
                    self._count(line.kind, takers[kind](line))

    def finish(self) -> None:
        """No job comes any more: models that take none are closed."""
        for line in self._closed:
            if line.draining:
                self._mark(models.drain(line.lane), line.draining)
            if line.removed:
                self._store.run(models.remove(line.lane))

    def _check_room(self, bytes: int) -> None:
        now, full_at = self._store.run(memory()), self._settings.redis.full_at
        if now.limit and now.taken + bytes > full_at * now.limit:
            message = (
                f"The record store has no room for the rest: {now.taken} of {now.limit} bytes are taken, "
                f"and SIGHTLINE_REDIS__FULL_AT is {full_at}. Raise its maxmemory and import again."
            )
            raise RefusedError(message)

    def _time(self) -> int:
        with store_errors():
            seconds, micros = self._store.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def _count(self, kind: str, is_new: bool) -> None:
        (self.counts if is_new else self.known)[kind] += 1

    def _left_s(self, till_ms: int) -> int:
        return math.ceil((till_ms - self._now_ms) / 1000)

    # What operators and callers made.

    def _model(self, line: ModelLine) -> bool:
        """Marks are set again by a repeat, which changes nothing."""
        if line.row_json and self._store.run(models.add(line.lane, line.row_json)) == "conflict":
            self.left_out["models that are served with other settings"] += 1
        if line.paused:
            self._mark(models.pause(line.lane, paused=True), line.paused)
        if line.draining or line.removed:
            self._closed.append(line)
        return True

    def _mark(self, call: ScriptCall[str], mark: Mark) -> None:
        self._store.run(replace(call, arguments={**call.arguments, "operator": mark.by, "now": mark.at_ms}))

    def _key(self, line: KeyLine) -> bool:
        revoked = line.fields.get("revoked_ms")
        fields = {name: value for name, value in line.fields.items() if name != "revoked_ms"}
        expires = fields.get("expires_ms")
        terms = {"expires_ms": expires and int(expires), "kept_s": KEPT_S}
        is_new = self._with_secrets(KEYS, NOBODY, line.id, fields, line.secrets, terms)
        if revoked:
            call = api_keys.revoke(line.id)
            self._store.run(replace(call, arguments={**call.arguments, "now": int(revoked)}))
        return is_new

    def _endpoint(self, line: EndpointLine) -> bool:
        fields = {"caller": line.caller, **line.fields}
        return self._with_secrets(ENDPOINTS, line.caller, line.id, fields, line.secrets, {})

    def _with_secrets(
        self,
        kind: RecordKind[Any],
        owner: str,
        id: str,
        fields: dict[str, str],
        secrets: Sequence[Secret],
        terms: dict[str, Any],
    ) -> bool:
        """A record begins with its first secret and is given the others; a repeat goes on from its own."""
        has = self._store.run(kind.read(owner, id, ("HGET", "", "secret"), lambda reply: reply))
        if has is None:
            self._store.run(kind.create(owner, id, secrets[0].secret, flat(**fields), **terms))
        begun = False
        for former, following in pairwise(secrets):
            begun = begun or former.secret == (has or secrets[0].secret)
            if begun and former.until_ms:
                grace_s = self._left_s(former.until_ms)
                self._store.run(kind.rotate(owner, id, following.secret, grace_s, MOST_FORMER))
        return has is None

    def _file(self, line: FileLine) -> bool:
        if self._store.run(files.file(line.caller, line.id)):
            return False
        given = line.model_dump(exclude={"kind", "caller", "created_ms", "expires_ms"})
        written = Written(**given, life_s=self._left_s(line.expires_ms), holder=f"upload:{NAME}")
        self._store.run(files.create(written, line.caller))
        times = flat(created_ms=line.created_ms, expires_ms=line.expires_ms)
        self._store.run(FILES.change(line.caller, line.id, [("HSET", "", *times)], bool))
        return True

    # Batches.

    def _batch(self, line: BatchLine) -> bool:
        """One that goes on is ours until its jobs are there: a broken off import is ended by the next one."""
        held = {"caller": line.caller, **_claimed(line)}
        if line.goes_ms:
            held["kept_s"] = str(self._left_s(line.goes_ms))
            taken: ScriptCall[Any] = self.of_ended_batch(line)
        else:
            taken = self._step(line.id, _written(line), (*line.good, *line.bad, line.fields["digest"]))
        which = {"kind": BATCHES.name, "owner": line.caller, "id": line.id}
        known = self._store.run(read(("EXISTS", line.id), bool))
        if not known:
            self._store.run(
                ScriptCall("record_create", which | {"fields": flat(**(line.fields | held))}, bool)
            )
        hook = flat(**line.hook or {})
        attached: ScriptCall[Any] = BATCHES.change(
            line.caller, line.id, [("HSET", ":hook", *hook)] if hook else [], bool
        )
        # The webhook of one that has ended hears of it only where it has not yet.
        first, second = (taken, attached) if line.told else (attached, taken)
        self._store.run(first)
        self._store.run(second)
        return not known

    def of_ended_batch(self, line: BatchLine) -> ScriptCall[str]:
        stage = line.fields["stage"]
        arguments: dict[str, Any] = {"id": line.id, "token": NAME, "stage": stage, "fields": [], "files": []}
        arguments |= {"untold": line.untold, "now": int(line.fields[f"{stage}_at"])}
        return ScriptCall("batch_end", arguments, str, constants=to_json(self._constants).decode())

    def _step(
        self, batch: str, commands: Sequence[Command], blobs: Sequence[str] = (), pause: int | None = None
    ) -> ScriptCall[str]:
        """Commands on a batch that is ours still."""
        arguments: dict[str, Any] = {"id": batch, "token": NAME, "commands": commands, "pieces": blobs}
        arguments |= {"upload": f"upload:{NAME}", "pause": pause}
        return ScriptCall("batch_step", arguments, str)

    def _place_batch(self, line: BatchPlaceLine) -> bool:
        return self._store.run(self._step(line.id, [], pause=0)) == "written"

    # Jobs.

    def _jobs(self, lines: Sequence[JobLine]) -> None:
        there = self._store.run_all([read(("EXISTS", job.id), bool) for job in lines])
        self.known["job"] += sum(there)
        jobs = [job for job, known in zip(lines, there, strict=True) if not (known or self._is_over(job))]
        calls = [call for job in jobs for call in (*self._of_line(job), self.of_job(job))]
        words = [word for word in self._store.run_all(calls) if word not in ("written", "lost")]
        for job, word in zip(jobs, words, strict=True):
            self._count_job(job, word)

    def _is_over(self, job: JobLine) -> bool:
        over = bool(job.end and job.end.goes_ms and job.end.goes_ms <= self._now_ms)
        if over:
            self.left_out["jobs that expired meanwhile"] += 1
        return over

    def _count_job(self, job: JobLine, word: str) -> None:
        if word == "gone":
            # What it retried is no longer kept.
            word = self._store.run(self.of_job(job.model_copy(update={"retry_of": None})))
        if word in ("queued", "intake", "restored", "known"):
            self.counts["job"] += 1
        else:
            self.left_out[f"jobs that the store refused ({word})"] += 1

    def _of_line(self, job: JobLine) -> list[ScriptCall[str]]:
        """Its batch knows it by the line that it answers."""
        line = job.line
        return [self._step(line.batch, [("HSET", ":known", line.number, job.id)])] if line else []

    def of_job(self, job: JobLine) -> ScriptCall[str]:
        """Its answer: queued, intake, restored, known, or why it is not taken."""
        call = submit(_placing(job), self._settings, self._terms(job), uploaded=True)
        more: dict[str, Any] = {"now": job.created_ms, "hook": job.hook, "seq": job.seq or None}
        settings = self._constants
        if job.idempotency:
            settings = settings | {"idempotency_s": max(1, self._left_s(job.idempotency.goes_ms))}
        text = to_json(settings).decode()
        if job.end is None:
            return ScriptCall(call.function, {**call.arguments, **more}, _word, call.text, constants=text)
        more |= {"retry_of": None, "retried": job.retry_of, "request": job.request_json}
        more |= self._ended(job.end)
        return ScriptCall(
            "restore", {**call.arguments, **more}, str, job.end.result_json or "", constants=text
        )

    def _terms(self, job: JobLine) -> JobTerms:
        return JobTerms(
            metadata=job.metadata,
            paths=job.paths,
            pending_terms=job.pending_terms,
            idempotency=job.idempotency.key if job.idempotency else None,
            body_digest=job.idempotency.body if job.idempotency else "",
            max_queued_caller=NO_LIMIT,
            times=Times(job.schedule_at, job.start_by, job.finish_by),
            retry_of=job.retry_of,
            response=job.response,
            quiet=job.quiet,
            line=0 if job.line or job.batch else None,
            batch=job.line.batch if job.line else job.batch,
            retain_s=job.retain_s,
            stored=job.stored,
            request_id=job.request_id,
            trace=job.trace,
            call_id=job.call_id,
        )

    def _ended(self, end: End) -> dict[str, Any]:
        """What `restore` takes beside the arguments of `submit`."""
        answered = end.answer_goes_ms and end.answer_goes_ms > self._now_ms
        return {
            "status": end.status,
            "ended": end.at_ms,
            "started": end.started_ms,
            "first": end.first_ms,
            "attempts": [attempt.model_dump(exclude_none=True) for attempt in end.attempts],
            "cache": end.cache,
            "error": end.error_json,
            "bare": end.bare_json,
            "origin": end.origin_json,
            "texts": end.texts_json,
            "print": end.print,
            "goes": end.goes_ms,
            "answer_goes": end.answer_goes_ms if answered else None,
            "told": end.told or None,
            "untold": end.untold,
            "room": 0,
        }


def _written(batch: BatchLine) -> list[Command]:
    """What it has written, and what is known of its lines."""
    commands: list[Command] = [("DEL", ":good"), ("DEL", ":bad")]
    commands += [
        ("RPUSH", list, *pieces) for list, pieces in ((":good", batch.good), (":bad", batch.bad)) if pieces
    ]
    commands += [("ZADD", ":doubles", number, number) for number in batch.doubles]
    known = [part for pair in _known(batch).items() for part in pair]
    return commands + [("HSET", ":known", *known[at : at + 1000]) for at in range(0, len(known), 1000)]


def _known(batch: BatchLine) -> dict[int, str]:
    if "written" in batch.fields:
        return batch.known
    # The first release wrote rows in no order: all that were taken and are not named otherwise have theirs.
    known = dict.fromkeys(range(1, int(batch.fields["row"]) + 1), "")
    for number, (taken, answer) in batch.answered.items():
        known[number] = json.loads(taken).get("job") or json.loads(answer)["error"]
    return known


def _claimed(batch: BatchLine) -> dict[str, str]:
    """Its work, under our token."""
    work = {"caller": batch.caller, "lane": BATCH, "model_lane": BATCH, "priority": "batch", "cost": 1}
    parts = {
        "r": work | {"created": int(batch.fields["created_ms"])},
        "s": {"state": "running", "worker": NAME},
        "t": {"token": NAME},
    }
    texts = {name: to_json(part).decode() for name, part in parts.items()}
    return {name: batch.fields.get(name, "0") for name in ("written", "written_at")} | texts


def _placing(job: JobLine) -> Placing:
    names = (
        "caller",
        "model",
        "lane",
        "priority",
        "hash",
        "key",
        "blobs",
        "cost",
        "rows",
        "room",
        "question",
    )
    kept = {name: getattr(job, name) for name in (*names, "pictures")}
    return Placing(job=job.id, request=job.request_json, **kept)


def _word(reply: list[Any]) -> str:
    return str(reply[0])
