"""Functions: each one says what it takes, and takes what it is given."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, cast

import pytest

from shared.api_keys import ApiKey, Operator
from shared.batch import Batch, BatchLease, LineProblem, Tokens, WrittenRows
from shared.file import Written
from shared.job import Delivery, Filter, Times
from shared.result import Candidate, Choice, JobError, Origin, Piece, TokenLogprob
from shared.settings import Settings
from shared.store import (
    admission,
    api_keys,
    batches,
    claims,
    files,
    headroom,
    jobs,
    maintenance,
    metrics,
    models,
    server,
    webhook_deliveries,
    webhook_endpoints,
    webhook_events,
    workers,
)
from shared.store.admission import JobTerms, Placing
from shared.store.claims import Claim
from shared.store.script import FOLDER, LIBRARY, MARK_WRITTEN, Library, ScriptCall, Store
from shared.store.transfer.lines import BatchLine, End, JobLine
from shared.store.transfer.restore import StoreWriter
from shared.store.webhook_deliveries import DueDelivery
from shared.webhooks import Endpoint, EndpointUpdate, Notice, Webhook
from tests.support.functions import code, functions, helpers, sources
from tests.support.store import answer
from tests.support.views import QUEUED

NAMES = sorted(functions())
SETTINGS = Settings()
PLACING = Placing("job_1", "anyone", "m", "model.m", "normal", "h", "k", ("d",), 1, "{}", 2, 3, "q", 1)
CLAIM = Claim("job_1", "t", "{}", "", 1, 0, "anyone", False)
NOTICE = Notice("msg_1_ended", "job.failed", 1, "job_1", job=QUEUED)
CALL = Claim("hook:job_1:ended:own", "t", "", "", 1, 0, "anyone", False)
ERRAND = DueDelivery(CALL, "https://example.com/", (), 0, NOTICE)
LOGPROBS = answer().model_copy(
    update={
        "choices": (
            Choice(text="x", finish_reason="stop", logprobs=(TokenLogprob(0, Candidate("x", -1), ()),)),
        )
    }
)
ENDPOINT = Endpoint("wh_1", "https://example.com/", ("job.*",), "", 1)
ERROR = JobError(code="poison", message="m")
WRITTEN = Written("file-1", "n", "batch", 1, "d", 1, "upload:1")
BATCH = Batch(
    "batch_1", "anyone", "validating", "file-1", "d", "/", 1, 1, 1, {}, {}, max_queued=1, retain_s=1
)
TURN = BatchLease("batch_1", "t")
PROBLEM = LineProblem("empty_file", "m", 1, "p")
OPERATOR = Operator("key_1", "n", "127.0.0.1", "req_1")
TRANSFER = StoreWriter(cast(Store, None), SETTINGS)
FILTER = Filter(["failed"], "s", "m", "batch", since=1, until=2, metadata={"k": "v"})
KEY = ApiKey("key_1", "n", "c", ("read",), 1, expires_ms=2, requests_per_minute=3, max_queued=4, retain_s=5)


def calls() -> Iterator[ScriptCall]:
    """Every transition the code can make, with every argument given."""
    yield from chain(of_admission(), of_claims(), of_upkeep(), of_jobs(), of_hooks(), of_keys(), of_workers())
    yield from chain(of_endpoints(), of_files(), of_batches(), of_transfers())


def of_admission() -> Iterator[ScriptCall]:
    terms = JobTerms(
        metadata={"k": "v"},
        paths={"messages": "inputs"},
        pending_terms="{}",
        idempotency="i",
        body_digest="b",
        must_be_ready=True,
        times=Times(1, 2, 3),
        retry_of="job_0",
        response="{}",
        webhook=Webhook("https://example.com/"),
        quiet=True,
        retain_s=1,
        stored=False,
        line=1,
        request_id="r",
        trace="t",
        call_id="c",
    )
    yield admission.submit(PLACING, SETTINGS, terms, sent=("d",), uploaded=True, spare=1)
    yield admission.cached(PLACING, SETTINGS, texts=True)
    yield admission.keep_answer(SETTINGS, "job_1", 1)
    yield admission.admit(PLACING, SETTINGS, token="t")
    yield admission.known(SETTINGS, "anyone", "i", "b")
    yield admission.predict(PLACING, SETTINGS, pending=True, max_queued_caller=1)
    yield files.touch(("d",), "job_1")
    yield files.touch(("d",), "job_1", output=True)


def of_transfers() -> Iterator[ScriptCall]:
    """What was exported from another store."""
    placing = {name: value for name, value in vars(PLACING).items() if name not in ("job", "request")}
    said: dict[str, Any] = {
        "id": "job_1",
        "request_json": "{}",
        "created_ms": 1,
        "metadata": {"k": "v"},
        "paths": {"a": "b"},
    }
    said |= {
        "pending_terms": "{}",
        "idempotency": {"key": "i", "body": "b", "goes_ms": 1},
        "hook": {"url": "u"},
    }
    said |= {
        "schedule_at": 1,
        "start_by": 2,
        "finish_by": 3,
        "retry_of": "job_0",
        "response": "{}",
        "quiet": True,
    }
    said |= {
        "retain_s": 1,
        "stored": False,
        "line": {"batch": "batch_1", "number": 1},
        "request_id": "r",
        "trace": "t",
        "call_id": "c",
    }
    end: dict[str, Any] = {
        "status": "failed",
        "at_ms": 1,
        "started_ms": 1,
        "first_ms": 1,
        "attempts": [],
        "cache": "HIT",
    }
    end |= {"error_json": "{}", "bare_json": "{}", "origin_json": "{}", "texts_json": ["{}"], "print": "p"}
    job = JobLine.model_validate({**placing, **said, "seq": 1})
    yield TRANSFER.of_job(job)
    ended = End.model_validate({**end, "goes_ms": 1, "answer_goes_ms": 1})
    yield TRANSFER.of_job(job.model_copy(update={"end": ended}))
    fields = {"stage": "failed", "failed_at": "1"}
    yield TRANSFER.of_ended_batch(BatchLine(id="batch_1", caller="c", fields=fields, untold=("wh_1",)))


def of_claims() -> Iterator[ScriptCall]:
    claim = claims.claim(
        SETTINGS, lane="model.m", worker="w", token="t", fingerprint="f", row="{}", aside=["c"]
    )
    yield claims.within(1, claim)
    yield claims.renew(SETTINGS, "w", [("job_1", "t")])
    yield claims.append(CLAIM, Piece(0, "x", (1,), choice=1))
    told = LOGPROBS.model_copy(update={"origin": Origin(made_of={}, parameters={})})
    yield claims.settle(SETTINGS, CLAIM, told, fingerprint="f", rest=(Piece(0, "x", (1,)),))
    yield claims.settle(SETTINGS, CLAIM, ERROR)
    again = claims.Retry(1.0, "{}", 5, free=False)
    yield claims.give_back(
        SETTINGS, CLAIM, reason="r", error=ERROR, missing=("d" * 64,), died=True, again=again
    )
    yield claims.rescue(SETTINGS)


def of_upkeep() -> Iterator[ScriptCall]:
    yield files.mark_deleted(["d"])
    yield MARK_WRITTEN
    yield maintenance.bad_records()
    yield api_keys.by(OPERATOR, "record.forget", "job_1", maintenance.forget("job_1"))
    yield headroom.memory()
    yield headroom.writable(SETTINGS)
    yield server.RIGHTS
    yield headroom.holding("anyone")
    yield headroom.fold()
    yield metrics.refuse("message", {"queue_full": 1.0})
    yield metrics.sample(SETTINGS)
    yield metrics.series()
    yield maintenance.due()
    yield maintenance.expire(SETTINGS)
    yield maintenance.finish(SETTINGS)
    yield api_keys.by(OPERATOR, "model.pause", "m", models.pause("model.m", paused=True))
    yield models.registrations()
    yield api_keys.by(OPERATOR, "model.add", "m", models.add("model.m", "{}"))
    yield api_keys.by(OPERATOR, "model.drain", "m", models.drain("model.m"))
    yield api_keys.by(OPERATOR, "model.remove", "m", models.remove("model.m"))
    yield models.sweep(SETTINGS, "model.m", ["job_1"], "1")
    yield api_keys.page("1-0", 1)


def of_jobs() -> Iterator[ScriptCall]:
    yield jobs.view(SETTINGS, "anyone", "job_1", line=True)
    yield jobs.jobs(SETTINGS, "anyone", after="job_1", limit=1, wanted=FILTER, results=False)
    yield jobs.statuses("anyone", FILTER, "job_1")
    yield jobs.follow("anyone", "job_1", 0)
    yield jobs.follow("anyone", "job_1", 0, first=True)
    yield jobs.abandon("anyone", "job_1", 1)
    yield jobs.cancel(SETTINGS, "anyone", "job_1", abandoned=1, line=True)
    yield jobs.purge(SETTINGS, "anyone", "job_1", delivered=True, abandoned=1)
    yield jobs.purged("anyone", "job_1")
    yield jobs.asked("anyone", "job_1")
    yield files.deleted(["d"])
    yield files.keep_thumbnail("anyone", "job_1", "d", "t", "u")
    yield jobs.lane(SETTINGS, "model.m")


def of_hooks() -> Iterator[ScriptCall]:
    yield webhook_deliveries.delivery(CALL)
    yield webhook_deliveries.end_delivery(SETTINGS, CALL, ERRAND, Delivery("job.failed", 1, 1, 410))
    yield webhook_deliveries.postpone_delivery(SETTINGS, ERRAND, Delivery("job.failed", 1, 1, 200), 1)
    yield webhook_deliveries.replay(SETTINGS, "anyone", "job_1")
    yield webhook_events.page("anyone", after="job_1:ended", types=("job.*",), limit=1)


def of_endpoints() -> Iterator[ScriptCall]:
    yield webhook_endpoints.create("anyone", ENDPOINT, "example.com", "s")
    yield webhook_endpoints.endpoints("anyone")
    yield webhook_endpoints.change("anyone", "wh_1", EndpointUpdate("u", "h", ("job.*",), "d", enabled=True))
    yield webhook_endpoints.rotate("anyone", "wh_1", "s", 60)
    yield webhook_endpoints.delete("anyone", "wh_1")
    yield webhook_endpoints.tries("anyone", "wh_1")
    yield webhook_endpoints.send_test(SETTINGS, "anyone", "wh_1", "test_1", "{}")
    yield webhook_endpoints.replay(SETTINGS, "anyone", "wh_1", "job_1:ended")


def of_files() -> Iterator[ScriptCall]:
    yield files.create(WRITTEN, "anyone")
    yield files.file("anyone", "file-1")
    yield files.files("anyone", after="file-1", limit=1, oldest_first=True)
    yield files.delete("anyone", "file-1")
    yield files.identity()


def of_batches() -> Iterator[ScriptCall]:
    yield batches.create(SETTINGS, BATCH, "d", Webhook("https://example.com/"))
    yield batches.cancel("anyone", "batch_1")
    yield batches.leased(TURN)
    yield batches.give_back(SETTINGS, TURN, 1)
    yield batches.begin(TURN, total=1, last=1, doubles=[1], errors=[PROBLEM])
    yield batches.fail(SETTINGS, TURN, [PROBLEM])
    yield batches.miss(TURN, gone=True)
    yield batches.take(TURN, BATCH, BATCH, {1: ERROR})
    yield batches.write(TURN, BATCH, WrittenRows((1,), 9, 1, 1, 1, Tokens(1, 1, 1), "d", "d", jobs=("j",)))
    yield batches.doubles(TURN, BATCH, 1)
    yield batches.known(TURN, [1])
    yield batches.pieces(TURN)
    yield batches.rows_so_far("anyone", TURN.id)
    yield batches.end(SETTINGS, TURN, BATCH, output=WRITTEN, error=WRITTEN)


def of_keys() -> Iterator[ScriptCall]:
    yield api_keys.by(OPERATOR, "key.create", "key_1", api_keys.create(KEY, "d"))
    yield api_keys.use("d")
    yield api_keys.keys()
    yield api_keys.by(OPERATOR, "key.rotate", "key_1", api_keys.rotate("key_1", "d", 60))
    yield api_keys.by(OPERATOR, "key.revoke", "key_1", api_keys.revoke("key_1"))


def of_workers() -> Iterator[ScriptCall]:
    yield workers.beat(
        SETTINGS, worker="w", lane="model.m", state="ready", row="{}", facts={}, record={"host": "h"}
    )
    yield workers.fleet(SETTINGS, ["model.m"])
    yield maintenance.lead("courier_1", 1000)


def used(source: str) -> set[str]:
    """The arguments a script reads; `now` is the tests' own. Placing reads them as `p`."""
    return set(re.findall(r"\b[ap]\.(\w+)", code(source))) - {"now"}


def test_every_function_of_a_file_is_called() -> None:
    # With which every call begins and ends, and what is named by a choice of functions.
    called = {"clock", "save", "finished", "mend_run", "mend_job"}
    called |= {"is_in_place", "put_back"}
    for function in functions().values():
        called |= set(re.findall(r"(?<![\w:])(?:[A-Z]\w*\.)?(\w+)\b", function.source))
    assert {name.rpartition(".")[2] for _, name in helpers()} - called == {"transition"}


def test_the_library_is_named_by_its_code(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.lua"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert Library(tmp_path).name == LIBRARY.name
    (tmp_path / "queue.lua").write_text("-- nothing\n", encoding="utf-8")
    assert Library(tmp_path).name != LIBRARY.name


@pytest.mark.parametrize("name", NAMES)
def test_a_function_s_header_says_what_it_does(name: str) -> None:
    assert re.search(r"^-- \S", functions()[name].header, re.M)


@pytest.mark.parametrize("call", list(calls()), ids=lambda call: call.function)
def test_a_function_is_given_what_it_reads(call: ScriptCall) -> None:
    same = [other for other in calls() if other.function == call.function]
    given = {name for other in same for name, value in other.arguments.items() if value is not None}
    # Admitted work was accepted before: what may refuse it is not asked. Statuses are all of them.
    refusing = {"must_be_ready", "max_queued_caller", "pending"}
    never_asked = {
        "admit": refusing | {"seq"},
        "restore": {"retry_of"},
        "predict": refusing,
        "statuses": {"status"},
    }.get(call.function, set())
    assert used(functions()[call.function].source) - never_asked - given == set()


def test_every_kind_of_key_is_described() -> None:
    """Who changes a record finds who else writes it."""
    source = sources()
    written = set(re.findall(r"P \.\. '([a-z_]+)[:']", source)) - {"wake"}
    comments = "\n".join(line.partition("--")[2] for line in source.splitlines())
    page = (Path(__file__).parents[3] / "docs/architecture.md").read_text(encoding="utf-8")
    assert written - set(re.findall(r"\w+", comments + page)) == set()


def test_every_function_has_its_transition() -> None:
    assert sorted({call.function for call in calls()}) == NAMES


def test_arguments_left_out_are_not_sent_as_null() -> None:
    call = claims.give_back(SETTINGS, CLAIM, reason="r", error=None)
    assert {"spend", "failure"} & set(json.loads(call.command[4])) == set()
