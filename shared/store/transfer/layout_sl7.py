"""Reads a store whose keys begin with `sl7:`, key by key: functions that know them may not be there any more.

What a key holds stands at the head of the files of `shared/store/functions` at commit 6f180de3; no release
changes that now. Where jobs go on meanwhile, a line shows each as it was when it was read.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared.job import LEAP
from shared.store.admission import ROOM
from shared.store.constants import LOST
from shared.store.transfer.lines import (
    BatchLine,
    BatchPlaceLine,
    End,
    EndpointLine,
    FileLine,
    Idempotency,
    JobLine,
    Kept,
    KeyLine,
    Line,
    Mark,
    ModelLine,
    Secret,
)
from shared.store.views import integer, record

PREFIX = "sl7:"
AT_ONCE = 50
"""Records that are read in one exchange: a job's may have a megabyte."""
SCANNED = 1000
DAY_MS = 86_400_000
OVER = ("completed", "failed", "expired", "cancelled")
"""Stages of a batch that has ended."""
UNREADABLE = "records that could not be read"
OF_BATCH = (
    ("HGETALL", ""),
    ("PTTL", ""),
    ("HGETALL", ":hook"),
    ("HGET", ":ended", "deliveries"),
    ("LRANGE", ":good", 0, -1),
    ("LRANGE", ":bad", 0, -1),
    ("ZRANGE", ":doubles", 0, -1),
    ("HGETALL", ":lines"),
    ("HGETALL", ":answers"),
    ("HGETALL", ":known"),
)
OF_JOB = (
    ("HGETALL", ""),
    ("PTTL", ""),
    ("GET", ":asked"),
    ("HGETALL", ":hook"),
    ("HGET", ":ended", "deliveries"),
)
OF_RUN = (("HGETALL", ""), ("PTTL", ""), ("GET", ":asked"), ("XRANGE", ":events", "-", "+"))
_NAME = re.compile(r"(job|key|wh|batch)_[0-9a-f]+|(file)-[0-9a-f]+|(lane|idem):.+")
Command = tuple[Any, ...]
"""A command's name, the end of its key, further arguments."""
Fields = dict[str, Any]
Texts = list[tuple[int, str]]


@dataclass
class Stored:
    """A job or a run: its fields, empty where it is gone or seen no longer, its texts, and when it goes."""

    fields: Fields
    texts: dict[str, str]
    goes_ms: int | None
    asked: str

    def text(self, name: str) -> str | None:
        return self.texts.get(name) or None

    @property
    def request(self) -> str:
        return self.text("request") or self.asked


class _Found(NamedTuple):
    """The replies to OF_JOB."""

    texts: dict[str, str]
    ttl: int
    asked: str | None
    hook: dict[str, str]
    deliveries: str | None


class StoreReader:
    """One walk over a store; `left_out` counts what its lines do not hold."""

    prefix = PREFIX
    of_job: Sequence[Command] = OF_JOB
    of_run: Sequence[Command] = OF_RUN
    of_batch: Sequence[Command] = OF_BATCH

    def __init__(self, client: Any) -> None:
        self._client = client
        self._names = defaultdict[str, set[str]](set)
        self._now_ms = 0
        self.left_out = Counter[str]()
        self.jobs = 0

    def lines(self) -> Iterator[Kept]:
        seconds, micros = self._client.time()
        self._now_ms = seconds * 1000 + micros // 1000
        for key in self._client.scan_iter(f"{self.prefix}*", count=SCANNED):
            if found := _NAME.fullmatch(name := key.removeprefix(self.prefix)):
                self._names[found[1] or found[2] or found[3]].add(name)
        self.jobs = len(self._names["job"])
        yield from self._models()
        yield from self._keys()
        yield from self._files()
        yield from self._endpoints()
        batches = list(self._batches())
        live = {batch.id: batch for batch in batches if batch.fields["stage"] not in OVER}
        ended, waiting, of_batches = self._order(live)
        yield from (batch for batch in batches if batch.id not in live)
        yield from self._jobs(ended, {})
        yield from self._jobs(waiting, {})
        for batch in live.values():
            yield batch
            yield from self._taken_lines(batch, of_batches[batch.id])
        self._count_left_out()

    def _count_left_out(self) -> None:
        unreadable, acts = self._read(("HLEN", "bad"), ("XLEN", "deeds"))
        self.left_out[UNREADABLE] += unreadable
        self.left_out["admin actions"] = acts
        self.left_out["idempotency keys of deleted jobs"] += len(self._names["idem"])

    def _read(self, *commands: Command) -> list[Any]:
        """The replies to commands, in one exchange."""
        pipeline = self._client.pipeline(transaction=False)
        for command, key, *rest in commands:
            pipeline.execute_command(command, self.prefix + key, *rest)
        return list(pipeline.execute())

    def _read_each(self, names: Sequence[str], commands: Sequence[Command]) -> Iterator[list[Any]]:
        """For each name the replies to commands on keys that begin with it."""
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            found = self._read(
                *((command, name + end, *rest) for name in some for command, end, *rest in commands)
            )
            yield from (found[at : at + len(commands)] for at in range(0, len(found), len(commands)))

    def _moment(self, ttl: int) -> int | None:
        """When a key goes; None where it stays."""
        return self._now_ms + ttl if ttl >= 0 else None

    # What operators and callers made.

    def _plain(
        self, kind: str, commands: Sequence[Command] = (("HGETALL", ""),)
    ) -> list[tuple[str, list[Any]]]:
        """Plain records of a kind by id, the oldest first; the first reply has their fields."""
        names = sorted(self._names[kind])
        found = [(id, row) for id, row in zip(names, self._read_each(names, commands), strict=True) if row[0]]
        return sorted(found, key=lambda pair: int(pair[1][0]["created_ms"]))

    def _models(self) -> Iterator[ModelLine]:
        rows, removed = self._read(("HGETALL", "models"), ("SMEMBERS", "removed"))
        known = {name.removeprefix("lane:") for name in self._names["lane"]}
        lanes = sorted(known | rows.keys() | set(removed))
        for lane, (state,) in zip(
            lanes, self._read_each([f"lane:{it}" for it in lanes], (("HGET", "", "q"),)), strict=True
        ):
            marks = json.loads(state or "{}")
            line = ModelLine(
                lane=lane,
                row_json=rows.get(lane),
                paused=_mark(marks, "paused"),
                draining=_mark(marks, "draining"),
                removed=lane in removed,
            )
            if line != ModelLine(lane=lane):
                yield line

    def _keys(self) -> Iterator[KeyLine]:
        for id, (fields,) in self._plain("key"):
            secrets = self._secrets(fields)
            yield KeyLine(
                id=id, fields=_without(fields, "id", "rate", "reads", "reads_told", "told"), secrets=secrets
            )

    def _endpoints(self) -> Iterator[EndpointLine]:
        for id, (fields,) in self._plain("wh"):
            secrets = self._secrets(fields)
            caller = fields["caller"]
            yield EndpointLine(id=id, caller=caller, fields=_without(fields, "id", "caller"), secrets=secrets)

    def _secrets(self, fields: dict[str, str]) -> tuple[Secret, ...]:
        """Taken out of a record; those that end first come first."""
        formers = json.loads(fields.pop("formers", "{}"))
        fields.pop("former_until_ms", None)
        ends = sorted((int(till), secret) for secret, till in formers.items() if till > self._now_ms)
        former = [Secret(secret=secret, until_ms=till) for till, secret in ends]
        return *former, Secret(secret=fields.pop("secret"))

    def _files(self) -> Iterator[FileLine]:
        for _, (fields,) in self._plain("file"):
            if int(fields["expires_ms"]) > self._now_ms:
                yield FileLine.model_validate(fields)

    # Batches.

    def _batches(self) -> Iterator[BatchLine]:
        for id, (fields, ttl, hook, deliveries, good, bad, doubles, lines, answers, known) in self._plain(
            "batch", self.of_batch
        ):
            yield BatchLine(
                id=id,
                caller=fields["caller"],
                fields=_without(fields, "id", "caller", "token", "waits_for", "r", "s", "t"),
                hook=hook or None,
                told="own" not in self._pending(deliveries),
                untold=tuple(sorted(self._pending(deliveries) - {"own"})),
                goes_ms=self._moment(ttl) if fields["stage"] in OVER else None,
                good=tuple(good),
                bad=tuple(bad),
                doubles=tuple(map(int, doubles)),
                known=known,
                answered={int(n): (lines[n], answer) for n, answer in answers.items() if n in lines},
            )

    def _taken_lines(self, batch: BatchLine, jobs: Mapping[int, str]) -> Iterator[Kept]:
        """The jobs of lines that were taken and have not ended, and that the batch goes on."""
        (taken,) = self._read(("HGETALL", f"{batch.id}:lines"))
        lines: dict[str, Line] = {}
        for number in sorted(map(int, taken)):
            if number in jobs and number not in batch.answered:
                lines[jobs[number]] = Line(batch=batch.id, number=number)
        yield from self._jobs([*lines], lines)
        yield BatchPlaceLine(id=batch.id, caller=batch.caller)

    # Jobs.

    def _order(self, batches: Collection[str]) -> tuple[list[str], list[str], dict[str, dict[int, str]]]:
        """Ids of jobs that have ended, by when; that wait, by when they came; of lines of these batches."""
        ended, waiting = list[tuple[int, str]](), list[tuple[int, int, str]]()
        of_batches = defaultdict[str, dict[int, str]](dict)
        for id, job, run in self._looked_at(sorted(self._names["job"])):
            if "ended" in (end := _ended_with(job, run)):
                ended.append((int(end["ended"]), id))
            elif job.get("batch") in batches:
                of_batches[job["batch"]][int(job["line"])] = id
            else:
                waiting.append((int(job["created"]), int((run or job).get("arrival", 0)), id))
        return [id for _, id in sorted(ended)], [id for *_, id in sorted(waiting)], of_batches

    def _looked_at(self, ids: Sequence[str]) -> Iterator[tuple[str, Fields, Fields]]:
        """Jobs and their runs, without texts."""
        of_record = (("HMGET", "", "r", "s", "t"),)
        jobs = [self._fields(texts) for (texts,) in self._read_each(ids, of_record)]
        names = [self._run_of(id, job) for id, job in zip(ids, jobs, strict=True)]
        runs = self._read_each(names, of_record)
        for id, job, name, (texts,) in zip(ids, jobs, names, runs, strict=True):
            if job:
                yield id, job, self._run_fields(name, texts)

    def _run_of(self, id: str, job: Fields) -> str:  # noqa: ARG002 - in later layouts
        """The run of a job, if there is one."""
        return str(job.get("run", ""))

    def _run_fields(self, name: str, texts: Sequence[str | None]) -> Fields:  # noqa: ARG002
        return self._fields(texts)

    def _pending(self, told: str | None) -> frozenset[str]:
        """Who is still to be told of a notice: endpoints, and `own`."""
        return frozenset(json.loads(told or "{}"))

    def _fields(self, texts: Sequence[str | None]) -> Fields:
        """Of a job or run; empty where it is gone, cannot be read, or is seen no longer."""
        fields = self._parsed(texts)
        return fields if int(fields.get("till", self._now_ms + 1)) > self._now_ms else {}

    def _parsed(self, texts: Sequence[str | None]) -> Fields:
        try:
            return record(text for text in texts if text)
        except ValueError:
            self.left_out[UNREADABLE] += 1
            return {}

    def _record(self, texts: dict[str, str], ttl: int, asked: str | None) -> Stored:
        fields = self._fields([texts.get(part) for part in ("r", "s", "t")])
        goes = integer(fields, "till") or self._moment(ttl)
        return Stored(fields, texts, goes, asked or "")

    def _jobs(self, ids: Sequence[str], lines: Mapping[str, Line]) -> Iterator[JobLine]:
        """Those of them that are still there, with the lines of batches that they answer."""
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            found = [_Found(*row) for row in self._read_each(some, self.of_job)]
            jobs = [self._record(row.texts, row.ttl, row.asked) for row in found]
            names = [self._run_of(id, job.fields) for id, job in zip(some, jobs, strict=True)]
            runs = self._read_each(names, self.of_run)
            for id, row, job, name, (*parts, events) in zip(some, found, jobs, names, runs, strict=True):
                if job.fields:
                    run = self._run(name, *parts)
                    yield self._job(id, row, job, run, _texts(events, run), lines.get(id))

    def _run(self, name: str, *parts: Any) -> Stored:  # noqa: ARG002
        """Out of the replies to `of_run`, but for its events."""
        return self._record(*parts)

    def _job(
        self, id: str, found: _Found, job: Stored, run: Stored, texts: Texts, line: Line | None
    ) -> JobLine:
        work = run if run.fields else job
        known, asked = job.fields, work.fields
        ended = _ended_with(known, run.fields)
        if "ended" not in ended and self._run_of(id, known) and not run.fields:
            ended = known | {"status": "failed", "ended": self._now_ms, "error": LOST.model_dump_json()}
        waits = "ended" not in ended
        begun = waits and "started" in run.fields
        if begun and texts:
            self.left_out["streams of running jobs, which begin anew"] += 1
        return JobLine(
            id=id,
            caller=known["caller"],
            model=known["model"],
            lane=known["model_lane"],
            priority=known["priority"],
            created_ms=known["created"],
            request_json=work.request,
            hash=asked.get("hash") or asked.get("key", "").rpartition(":")[2],
            key=asked.get("key"),
            blobs=tuple(asked.get("blobs", "").split()),
            cost=asked.get("cost", 1),
            rows=asked.get("rows", 1),
            room=_room(work) if waits else 0,
            question=asked.get("question"),
            pictures=asked.get("pictures", 0),
            metadata=json.loads(known["metadata"]),
            paths=json.loads(known.get("paths", "{}")),
            pending_terms=job.text("terms") if waits else None,
            idempotency=self._idempotency(id, known),
            schedule_at=known.get("schedule_at"),
            # What has begun in time waits for as long as it takes.
            start_by=None if begun else known.get("start_by"),
            finish_by=known.get("finish_by"),
            retry_of=known.get("retry_of"),
            response=known.get("response"),
            hook=found.hook or None,
            quiet="quiet" in known,
            line=line,
            batch=known.get("batch"),
            retain_s=known.get("retain_s"),
            stored="unstored" not in known,
            request_id=known.get("request_id"),
            trace=known.get("trace"),
            call_id=known.get("call_id"),
            seq=asked.get("seq", 0) + LEAP if begun and texts else 0,
            end=None if waits else self._end(id, ended, found, job, run, texts),
        )

    def _idempotency(self, id: str, job: Fields) -> Idempotency | None:
        if "idem" not in job:
            return None
        key = f"idem:{job['caller']}:{job['idem']}"
        (body, of), ttl = self._read(("HMGET", key, "digest", "job"), ("PTTL", key))
        if of != id or ttl < 0:
            return None
        self._names["idem"].discard(key)
        return Idempotency(key=job["idem"], body=body, goes_ms=self._now_ms + ttl)

    def _end(self, id: str, ended: Fields, found: _Found, job: Stored, run: Stored, texts: Texts) -> End:
        of_run = run.fields
        pending = self._pending(found.deliveries)
        in_cache = of_run.get("job") == id and "key" in of_run and "print" in of_run
        if in_cache:
            (cached,) = self._read(("GET", f"cache:{of_run['key']}:{of_run['print']}"))
            in_cache = cached == self._run_of(id, job.fields)
        kept = run.goes_ms or self._now_ms + DAY_MS if of_run else None
        return End(
            status=ended["status"],
            at_ms=ended["ended"],
            started_ms=of_run.get("started"),
            first_ms=of_run.get("first"),
            attempts=of_run.get("attempts", ()),
            cache=ended.get("cache"),
            error_json=ended.get("error"),
            result_json=run.text("result") if ended["status"] == "succeeded" else None,
            bare_json=run.text("bare"),
            origin_json=run.text("origin"),
            texts_json=tuple(text for number, text in texts if number <= ended.get("last", 0)),
            print=of_run["print"] if in_cache else None,
            goes_ms=job.goes_ms,
            answer_goes_ms=kept or (job.goes_ms if job.asked else None),
            told="own" not in pending,
            untold=tuple(sorted(pending - {"own"})),
        )


def _without(fields: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if name not in names}


def _mark(marks: Fields, name: str) -> Mark | None:
    return Mark(at_ms=marks[f"{name}_at"], by=marks.get(f"{name}_by")) if name in marks else None


def _room(work: Stored) -> int:
    """What is reserved for its answer; of a job whose inputs are fetched that stands with them."""
    if terms := work.text("terms"):
        return int(json.loads(terms).get("room", ROOM))
    return int(work.texts["m"].split()[0])


def _ended_with(job: Fields, run: Mapping[str, Any]) -> Fields:
    """A job's record with its run's end, where its own is still to be written."""
    if "ended" not in run or "status" in job:
        return job
    end = {"status": run["state"], "ended": run["ended"], "last": run["end_id"]}
    error = {"error": run["error"]} if "error" in run else {}
    return job | end | error


def _texts(events: Sequence[tuple[str, dict[str, str]]], run: Stored) -> Texts:
    """The data of a run's text events by their numbers."""
    found = [(int(id.partition("-")[0]), fields["text"]) for id, fields in events if "text" in fields]
    rest = json.loads(run.text("rest") or "[]")
    return [*found, *((run.fields["rest_id"] + at, json.dumps(data)) for at, data in enumerate(rest))]
