"""What docs/privacy.md says is left of a deleted job on the record store's disk, and what ends that."""

from pathlib import Path

from shared.store.script import Store
from tests.support.clients import until
from tests.support.redis_server import RedisServer
from tests.support.store import Records

WORDS = "a question that nobody else asks"


def on_disk(server: RedisServer) -> bool:
    files = [path for path in Path(server.folder).rglob("*") if path.is_file() and path.name != "log"]
    return any(WORDS.encode() in path.read_bytes() for path in files)


def test_a_deleted_job_stays_in_the_append_only_file_until_that_is_written_anew(
    real_store: Store, server: RedisServer
) -> None:
    records = Records(real_store)
    job = records.submit(request=f'{{"ask":"{WORDS}"}}')
    until(lambda: on_disk(server))
    records.purge(job.id)
    assert WORDS not in repr(records.dump())
    assert on_disk(server)

    # Refused while another rewriting is under way.
    until(lambda: records.client.info("persistence")["aof_rewrite_in_progress"] == 0)
    records.client.bgrewriteaof()
    until(lambda: not on_disk(server))
