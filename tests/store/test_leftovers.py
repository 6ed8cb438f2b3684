"""What docs/privacy.md says is left of a deleted job on the record store's disk, and what ends that."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.store.script import Store
from tests.support.clients import until
from tests.support.redis_server import RedisServer
from tests.support.store import Records

WORDS = "a question that nobody else asks"
REWRITE = "auto-aof-rewrite-percentage"


def on_disk(server: RedisServer) -> bool:
    files = [path for path in Path(server.folder).rglob("*") if path.is_file() and path.name != "log"]
    return any(WORDS.encode() in content(path) for path in files)


def content(path: Path) -> bytes:
    """What a file holds; the server unlinks what it wrote anew whenever one of its threads comes to it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


@pytest.fixture
def unwritten(store: Store) -> Iterator[Records]:
    """Records in a server that begins no rewriting of its append-only file by itself."""
    records = Records(store)
    usual = records.client.config_get(REWRITE)[REWRITE]
    records.client.config_set(REWRITE, 0)
    until(lambda: settled(records))
    yield records
    records.client.config_set(REWRITE, usual)


def settled(records: Records) -> bool:
    """Whether no rewriting is under way, which would refuse a second."""
    told = records.client.info("persistence")
    return not told["aof_rewrite_in_progress"] and not told["aof_rewrite_scheduled"]


def test_a_deleted_job_stays_in_the_append_only_file_until_that_is_written_anew(
    unwritten: Records, server: RedisServer
) -> None:
    job = unwritten.submit(request=f'{{"ask":"{WORDS}"}}')
    until(lambda: on_disk(server))
    unwritten.purge(job.id)
    assert WORDS not in repr(unwritten.dump())
    assert on_disk(server)
    unwritten.client.bgrewriteaof()
    until(lambda: settled(unwritten))
    until(lambda: not on_disk(server))
