"""What the release before keeps comes through an export and an import into this one's store."""

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_jsonable_python
from redis import Redis

from shared.ids import line_job_id
from shared.job import JobView
from shared.store import api_keys, batches, files, models
from shared.store.maintenance import lead
from shared.store.script import Store
from shared.store.transfer.lines import LINE, Kept
from shared.store.transfer.restore import RefusedError, StoreWriter
from sightline.cli import main
from tests.support.existing import existing
from tests.support.former_release import former_release
from tests.support.hooks import told_to
from tests.support.invariants import misplaced
from tests.support.redis_server import RedisServer
from tests.support.scenes import OLD, PICTURE, Scenes
from tests.support.store import LANE, SETTINGS, Records, answer
from tests.support.stored_batches import (
    BATCH,
    BYTES,
    GOOD,
    REFUSAL,
    begun,
    leave,
    move,
    now,
    submit,
    take,
    write,
)

FIELDS = (
    *("status", "created_ms", "started_ms", "ended_ms", "attempts", "cache", "result", "error", "metadata"),
    *("priority", "start_by_ms", "finish_by_ms", "schedule_at_ms", "request_hash", "stored", "retry_of"),
)


class Today(Scenes):
    """The same in a store of this release."""

    def begin_batch(self) -> None:
        records = self.records
        turn = begun(records, total=5)
        for number in (1, 2):
            submit(records, number)
            records.settle(records.claim(), answer(f"line {number}"))
        move(records, turn, 4, {3: REFUSAL})
        self.jobs["line 4"] = submit(records, 4)
        write(records, turn, 1)
        leave(records, turn)


class Exported:
    """What a store of the release before held, what its callers saw, and what the command said of it."""

    def __init__(self, server: RedisServer, file: Path, *, former: bool) -> None:
        server.empty()
        self.file = file
        if former:
            with former_release() as release:
                self.seen: dict[str, Any] = json.loads(release.run(release.scenes, server.url()))
        else:
            with Redis(port=server.port, decode_responses=True) as client:
                scenes = Today(Records(Store(client)))
                scenes.records.run(files.identity())
                scenes.play()
                self.seen = scenes.seen()
        self.typed = typed(server.url(), "export", str(file))
        _, *lines, self.finish = [LINE.validate_json(line) for line in file.read_text().splitlines()]
        self.lines: list[Any] = lines

    def view(self, records: Records, name: str) -> JobView:
        return records.view(self.seen[name]["id"], self.seen[name]["caller"])

    def names(self, ids: Sequence[str]) -> list[str]:
        """Of jobs, by which they are known here."""
        known = {seen["id"]: name for name, seen in self.seen.items()}
        return [known[id] for id in ids]


def typed(url: str, *words: str, stdin: bytes = b"") -> tuple[int, str]:
    """`sightline store …` as an operator types it, of the store at this address: its exit code and news."""
    news = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(news):
        patch.setenv("SIGHTLINE_REDIS__URL", url)
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return main(["store", *words]), news.getvalue()


@pytest.fixture(scope="module", params=["former", "today"])
def exported(
    request: pytest.FixtureRequest, server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    return Exported(
        server, tmp_path_factory.mktemp("export") / "jobs.jsonl", former=request.param == "former"
    )


@pytest.fixture
def records(exported: Exported, store: Store) -> Records:  # noqa: ARG001 - read first
    records = Records(store)
    records.now = (store.client.time()[0] + 2) * 1000
    # The scenes have ids of their own.
    records._numbers = count(0xA00)
    return records


@pytest.fixture
def moved(exported: Exported, records: Records) -> Records:
    """The store into which all was taken."""
    take_in(records, exported.lines)
    return records


def take_in(records: Records, lines: Sequence[Kept]) -> StoreWriter:
    writer = StoreWriter(records.store, SETTINGS)
    writer.take(lines, 0)
    writer.finish()
    return writer


def shown(view: JobView) -> dict[str, Any]:
    return {name: value for name, value in to_jsonable_python(view).items() if name in FIELDS}


def views(exported: Exported, records: Records) -> dict[str, Any]:
    return {name: shown(exported.view(records, name)) for name in exported.seen}


def test_callers_find_their_jobs_as_they_left_them(exported: Exported, moved: Records) -> None:
    before = {name: {field: seen[field] for field in FIELDS} for name, seen in exported.seen.items()}
    # It runs nowhere now, and waits again.
    before["running"] |= {"status": "queued", "started_ms": None, "attempts": []}
    found = views(exported, moved)
    for view in (*before.values(), *found.values()):
        view["result"] = view["result"] and {
            name: view["result"][name] for name in ("fingerprint", "compute_s")
        }
    assert found == before
    assert list(misplaced(moved.dump())) == []


def test_answers_their_lives_and_their_streams_are_kept(exported: Exported, moved: Records) -> None:
    job = exported.view(moved, "succeeded")
    assert job.result is not None
    assert job.result.text == "succeeded"
    assert moved.story(job.id) == ["queued", "running", "text", "succeeded"]
    assert moved.life(job.id) == pytest.approx(1000 - 60, abs=30)
    assert moved.kept(job.id) == pytest.approx(100 - 60, abs=30)
    moved.beat()
    assert moved.submit("same").cache == "HIT"
    assert moved.run(files.mark_deleted([PICTURE])) == []


def test_what_waited_is_computed_in_order_and_for_all_who_asked(exported: Exported, moved: Records) -> None:
    moved.pause(paused=False)
    claims = []
    while claim := moved.try_claim():
        claims.append(claim)
        moved.settle(claim)
    runs = {seen["id"]: name for name, seen in exported.seen.items() if name != "joined"}
    order = [runs[claim.id] for claim in claims]
    assert sorted(order[:2]) == ["running", "urgent"]
    assert [name for name in order if name in ("normal", "timed", "unstored")] == [
        "normal",
        "timed",
        "unstored",
    ]
    assert {exported.view(moved, name).status for name in ("normal", "joined", "line 4")} == {"succeeded"}
    assert moved.claim_pending().id == exported.seen["fetched"]["id"]


def test_a_reader_of_text_computed_again_learns_that_it_is(exported: Exported, moved: Records) -> None:
    seen = exported.seen["running"]
    page = existing(moved._event_page("anyone", seen["id"], seen["last_event"]))
    assert page.forgot


def test_a_call_that_is_made_again_under_its_key_finds_its_job(exported: Exported, moved: Records) -> None:
    def again(key: str, body: str) -> tuple[str, str | None]:
        reply = moved.post(moved.placing(), idempotency=key, body_digest=body)
        return reply.word, reply.view.id if reply.view else None

    assert again("one", "body") == ("known", exported.seen["succeeded"]["id"])
    assert again("one", "other") == ("mismatch", None)
    assert again("two", "") == ("known", exported.seen["fetched"]["id"])


def test_only_webhooks_that_were_still_to_be_called_are_called(exported: Exported, moved: Records) -> None:
    job = exported.seen["untold"]["id"]
    told = [(f"https://{host}", "job.succeeded", job) for host in ("all.example/", "own.example/told")]
    assert sorted(told_to(moved)) == told
    hook = existing(exported.view(moved, "told").hook)
    assert hook.delivered_ms == exported.seen["told"]["hook"]["delivered_ms"]


def test_keys_and_models_are_as_operators_left_them(moved: Records) -> None:
    uses = [moved.run(api_keys.use(secret)) for secret in ("first", "second", "third")]
    assert [use and use.key.id for use in uses] == ["key_0a"] * 3
    assert moved.run(api_keys.use("revoked")) is None
    revoked = {key.id: key.revoked_ms for key in moved.run(api_keys.keys()) or []}
    assert [id for id, at in revoked.items() if at] == ["key_0b"]
    registrations = moved.run(models.registrations())
    assert registrations.rows == {"model.other": '{"id":"other"}'}
    assert registrations.removed == {"model.gone"}
    assert "paused" in moved.lane_state(LANE)


def test_a_batch_goes_on_where_it_stood(moved: Records) -> None:
    batch = now(moved)
    assert (batch.stage, batch.at, batch.row, batch.completed, batch.total) == ("in_progress", 40, 4, 1, 5)
    turn = take(moved)
    known = moved.run(batches.known(turn, range(1, 6))) or {}
    assert (known.get(1, ""), known[3], 5 in known) == ("", REFUSAL, False)
    lines = [moved.view(str(known.get(n, line_job_id(BATCH, n)))) for n in (2, 4)]
    assert [job.status for job in lines] == ["succeeded", "queued"]
    assert {job.batch for job in lines} == {BATCH}
    # A batch of the first layout wrote rows in no order: those of all lines are still to be passed.
    assert write(moved, turn, *range(1 if 1 in known else 2, 6), completed=4, failed=1) == "written"
    assert now(moved).stage == "finalizing"
    assert moved.run(batches.pieces(turn)) == ([GOOD] * 2, [])
    assert moved.run(files.mark_deleted([BYTES, GOOD])) == []
    over = existing(moved.run(batches.batch("shop", OLD)))
    assert (over.stage, over.errors[0].code) == ("failed", "empty_file")


def test_an_import_that_is_repeated_changes_nothing(exported: Exported, moved: Records) -> None:
    before = moved.dump()
    writer = take_in(moved, exported.lines)
    assert writer.counts == {"model": 3}
    assert writer.known.total() == len(exported.lines) - 3
    assert moved.dump() == before


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.95])
def test_an_import_that_was_killed_goes_on(exported: Exported, records: Records, part: float) -> None:
    StoreWriter(records.store, SETTINGS).take(exported.lines[: round(part * len(exported.lines))], 0)
    take_in(records, exported.lines)
    cut = views(exported, records), records.key_names(), now(records)
    records.client.flushall()
    take_in(records, exported.lines)
    assert cut == (views(exported, records), records.key_names(), replace(now(records), now_ms=cut[2].now_ms))
    assert list(misplaced(records.dump())) == []


def test_nothing_is_taken_in_that_would_fill_the_store(
    exported: Exported, records: Records, server: RedisServer
) -> None:
    with server.nearly_full(), pytest.raises(RefusedError, match="Raise its maxmemory"):
        StoreWriter(records.store, SETTINGS).take(exported.lines, 2**20)
    assert records.key_names() <= {"sl8:leader", "sl8:upkeep"}


def test_nothing_is_taken_in_beside_a_courier_that_would_delete_its_pictures(
    exported: Exported, records: Records
) -> None:
    records.run(lead("courier", 60_000))
    with pytest.raises(RefusedError, match="stop it"):
        take_in(records, exported.lines)


def test_an_operator_is_told_what_was_moved_and_what_was_left_out(
    exported: Exported, records: Records, server: RedisServer, tmp_path: Path
) -> None:
    code, news = exported.typed
    assert (code, exported.file.stat().st_mode & 0o777) == (0, 0o600)
    assert "exported 3 models, 2 keys, 2 files, 1 endpoint, 2 batches, 18 jobs" in news
    assert "left out: 1 streams of running jobs, which begin anew" in news
    _, news = typed(server.url(), "import", "-", stdin=exported.file.read_bytes())
    assert news == "sightline: imported 3 models, 2 keys, 2 files, 1 endpoint, 2 batches, 18 jobs\n"
    assert set(views(exported, records)) == set(exported.seen)
    code, news = typed(server.url(5), "export", str(tmp_path / "empty"))
    assert (code, news) == (1, "sightline: The record store holds nothing under sl7:.\n")
    assert not (tmp_path / "empty").exists()
    (cut := tmp_path / "cut").write_text("\n".join(exported.file.read_text().splitlines()[:-1]))
    (strange := tmp_path / "strange").write_text('{"kind":"job"}\n')
    for file, why in ((cut, "cut off behind line"), (strange, "Line 1"), (tmp_path / "none", "No such file")):
        code, news = typed(server.url(), "import", str(file))
        assert (code, why in news) == (2, True)


def test_a_data_folder_keeps_an_export(exported: Exported, server: RedisServer, tmp_path: Path) -> None:
    words = ("import", str(exported.file), "--data", str(tmp_path / "data"))
    first, again = (typed(server.url(), *words)[1] for _ in range(2))
    assert "18 jobs" in first
    assert "there already: 2 keys, 2 files, 1 endpoint, 2 batches, 18 jobs" in again
