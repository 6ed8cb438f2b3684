"""Files' records: each caller's own, kept with their bytes for as long as was said, and gone with them."""

from dataclasses import replace

from shared.file import File, Written
from shared.store import files
from tests.support.store import Records

BYTES = "d" * 64
LIFE_S = 3600


def written(number: int = 1, **changes: object) -> Written:
    plain = Written(f"file-{number:032x}", "a.jsonl", "batch", 7, BYTES, LIFE_S, f"upload:{number}")
    return replace(plain, **changes)  # type: ignore[arg-type]


def create(records: Records, number: int = 1, caller: str = "anyone", **changes: object) -> File:
    return records.run(files.create(written(number, **changes), caller))


def test_a_list_does_not_grow_by_files_that_are_gone(records: Records) -> None:
    for number in range(1, 10):
        create(records, number)
        records.client.delete(f"sl9:{written(number).id}")
    assert records.client.zcard("sl9:files:anyone") == 1
