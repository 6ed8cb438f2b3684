"""Pictures nobody needs are deleted; those that somebody uploads or holds are not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.blobs import BlobMissingError, Blobs, Staged, digest
from shared.settings import BlobSettings, RedisSettings
from shared.store.files import HOLD_S, delete_blob, identity, touch
from shared.store.script import connect
from tests.support.attempt_harness import WorkerHarness
from tests.support.object_store import URL, object_store
from tests.support.service import ROOT
from worker.maintenance.passes import BlobCollector

KEPT, LOST, FRESH = b"kept", b"lost", b"fresh"
DYING = """
import resource, signal, sys
from shared.blobs import Blobs
from shared.settings import BlobSettings
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
Blobs(BlobSettings(url=sys.argv[1])).write(sys.argv[2], bytes(100_000))
"""
"""Killed in the middle of a write, as by a machine without memory."""


def written(harness: WorkerHarness, data: bytes, *, age_s: float = 0) -> Path:
    name = digest(data)
    harness.blobs.write(name, data)
    path = Path(harness.settings.blobs.url) / name[:2] / name
    at = time.time() - age_s
    os.utime(path, (at, at))
    return path


def path_of(staged: Staged) -> Path:
    assert staged.path is not None
    return staged.path


def test_an_old_picture_without_an_owner_goes_and_others_stay(harness: WorkerHarness) -> None:
    old = HOLD_S + 60
    kept, lost, fresh = (
        written(harness, KEPT, age_s=old),
        written(harness, LOST, age_s=old),
        written(harness, FRESH),
    )
    harness.ask("What is it?", KEPT)
    os.utime(kept, (time.time() - old, time.time() - old))
    collection = BlobCollector(harness.store, harness.blobs)
    assert [collection.collect() for _ in range(3)] == [0, 1, 0]
    assert (kept.exists(), lost.exists(), fresh.exists()) == (True, False, True)


def test_a_courier_of_another_database_deletes_no_picture_of_waiting_jobs(harness: WorkerHarness) -> None:
    kept = written(harness, KEPT, age_s=HOLD_S + 60)
    BlobCollector(harness.store, harness.blobs).collect()
    other = connect(RedisSettings(url=harness.redis.url(2)))
    with other.client:
        collection = BlobCollector(other, harness.blobs)
        assert [collection.collect() for _ in range(3)] == [0, 0, 0]
        assert not delete_blob(other, harness.blobs, digest(KEPT))
        assert kept.exists()
        # Where the other one has lost its records.
        harness.blobs.assign(other.run(identity()))
        collection = BlobCollector(other, harness.blobs)
        assert [collection.collect() for _ in range(2)] == [0, 1]
    assert not kept.exists()


def test_what_a_dead_upload_left_goes(harness: WorkerHarness) -> None:
    staged, fresh = harness.blobs.stage(), harness.blobs.stage()
    staged.write(b"half a file")
    staged.file.close()
    old = time.time() - HOLD_S - 60
    left, other = path_of(staged), path_of(fresh)
    os.utime(left, (old, old))
    collection = BlobCollector(harness.store, harness.blobs)
    assert [collection.collect() for _ in range(2)] == [0, 1]
    assert (left.exists(), other.exists()) == (False, True)
    fresh.discard()


def half_written(harness: WorkerHarness, name: str) -> Path:
    argv = (sys.executable, "-c", DYING, harness.settings.blobs.url, name)
    assert subprocess.run(argv, cwd=ROOT, check=False).returncode == -signal.SIGXFSZ
    (left,) = (Path(harness.settings.blobs.url) / name[:2]).iterdir()
    return left


def test_half_a_picture_of_a_process_that_was_killed_goes(harness: WorkerHarness) -> None:
    """No list of the store shows it, so the disk would fill unseen."""
    left, fresh = half_written(harness, digest(KEPT)), half_written(harness, digest(FRESH))
    old = time.time() - HOLD_S - 60
    os.utime(left, (old, old))
    collection = BlobCollector(harness.store, harness.blobs)
    assert [collection.collect() for _ in range(2)] == [1, 0]
    assert (left.exists(), fresh.exists()) == (False, True)


def test_what_somebody_came_to_need_during_its_deletion_is_put_back(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(harness, LOST, age_s=HOLD_S + 60)
    monkeypatch.setattr("shared.store.files.deleted", lambda names: touch(names, "job_1"))
    # `touch` answers what is being deleted, as `deleted` answers what is wanted.
    collection = BlobCollector(harness.store, harness.blobs)
    assert [collection.collect() for _ in range(2)] == [0, 0]
    assert path.read_bytes() == LOST


def test_what_nobody_needs_is_deleted_from_an_object_store_too(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can make an object older than it is; so here the young are old."""
    monkeypatch.setattr("worker.maintenance.passes.HOLD_S", -60)
    with object_store() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        blobs = Blobs(BlobSettings(url=URL))
        for data in (KEPT, LOST):
            blobs.write(digest(data), data)
        harness.ask("What is it?", KEPT)
        collection = BlobCollector(harness.store, blobs)
        assert [collection.collect() for _ in range(2)] == [0, 1]
        assert blobs.read(digest(KEPT)) == KEPT
        with pytest.raises(BlobMissingError):
            blobs.read(digest(LOST))
        assert blobs.owner() == harness.store.run(identity())
        server.kill()
        assert collection.collect() == 0, "a store that is away ends no maintenance"
