"""Files' records: each caller's own, kept with their bytes for as long as was said, and gone with them."""

from dataclasses import replace

from shared.file import File, Written
from shared.store import files
from tests.support.store import Records

BYTES = "d" * 64
KEY = f"sl9:blob:{BYTES}"
LIFE_S = 3600


def written(number: int = 1, **changes: object) -> Written:
    plain = Written(f"file-{number:032x}", "a.jsonl", "batch", 7, BYTES, LIFE_S, f"upload:{number}")
    return replace(plain, **changes)  # type: ignore[arg-type]


def create(records: Records, number: int = 1, caller: str = "anyone", **changes: object) -> File:
    return records.run(files.create(written(number, **changes), caller))


def page(records: Records, **how: object) -> list[str] | None:
    said = {"after": None, "limit": 10, "oldest_first": False, **how}
    found = records.run(files.files("anyone", **said))  # type: ignore[arg-type]
    return None if found is None else [file.id[-1] for file in found]


def test_a_file_is_read_back_by_its_caller_and_by_nobody_else(records: Records) -> None:
    made = create(records)
    assert made.expires_ms == records.now + LIFE_S * 1000
    assert records.run(files.file("anyone", made.id)) == made
    for caller, id in [
        ("other", made.id),
        ("anyone", "file-0"),
        ("anyone", "jobs:anyone"),
        ("anyone", "arrivals"),
    ]:
        assert records.run(files.file(caller, id)) is None


def test_a_files_bytes_are_held_as_long_as_its_record_and_no_longer(records: Records) -> None:
    create(records)
    lives = [records.client.ttl(key) for key in (KEY, f"sl9:{written().id}")]
    assert lives == [records.given(LIFE_S)] * 2
    assert records.run(files.mark_deleted([BYTES])) == []
    records.wait(LIFE_S + 1)
    assert records.run(files.mark_deleted([BYTES])) == [BYTES]


def test_what_has_expired_leaves_the_list(records: Records) -> None:
    for number in range(1, 5):
        create(records, number)
        records.wait(1)
    records.client.delete(f"sl9:{written(3).id}")
    assert page(records, limit=3) == ["4", "2", "1"]


def test_a_list_does_not_grow_by_files_that_are_gone(records: Records) -> None:
    for number in range(1, 10):
        create(records, number)
        records.client.delete(f"sl9:{written(number).id}")
    assert records.client.zcard("sl9:files:anyone") == 1


def test_a_deleted_files_bytes_go_unless_another_has_them(records: Records) -> None:
    create(records, 1)
    create(records, 2)
    assert records.run(files.delete("other", written(1).id)) is None
    assert records.run(files.delete("anyone", written(1).id)) == []
    assert records.run(files.delete("anyone", written(2).id)) == [BYTES]
    assert records.run(files.delete("anyone", written(2).id)) == [BYTES], "the repeat of a lost reply"
    assert records.run(files.file("anyone", written(1).id)) is None
    assert page(records) == []


def test_the_repeat_of_a_deletion_spares_bytes_that_are_needed_again(records: Records) -> None:
    create(records, 1)
    assert records.run(files.delete("anyone", written(1).id)) == [BYTES]
    create(records, 2)
    assert records.run(files.delete("anyone", written(1).id)) == []
    assert records.run(files.file("anyone", written(2).id)) is not None
