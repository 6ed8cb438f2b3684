"""Rows of lines that have ended."""

import json
from collections.abc import Iterable
from dataclasses import replace
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pytest

from api.batches.lease import LeasedBatch
from api.batches.output import CANCELLED, OutputRows, OutputWriter
from shared.batch import LineAnswer
from shared.blobs import Blobs, digest
from shared.result import JobError
from shared.settings import BlobSettings
from tests.support.batches import jsonl
from tests.support.views import succeeded

COUNT = 40
LATE = JobError(code="deadline_exceeded", message="The job's deadline passed.")


class Counting(Blobs):
    """Each opening is two requests of an object store, and a megabyte."""

    opened = 0

    def open(self, name: str) -> BinaryIO:
        self.opened += 1
        return super().open(name)


def test_what_responses_asked_is_read_from_their_batch_s_file_at_one_go() -> None:
    lines = [said(n) for n in range(COUNT)]
    rows, opened = written(lines, reversed(range(COUNT)))

    told = [json.loads(row) for row in rows.good]
    assert [row["custom_id"] for row in told] == [str(n) for n in reversed(range(COUNT))]
    assert all(row["response"]["body"]["metadata"] == {"n": row["custom_id"]} for row in told)
    assert opened == 1


@pytest.mark.parametrize("odd", [b"\x0c\n", b" \x0b \n", b"\n\n\xef\xbb\xbf"])
def test_an_odd_blank_line_before_a_response_s_does_not_stop_its_batch(odd: bytes) -> None:
    rows, _ = written([said(0), odd + said(1)], range(2))

    assert [json.loads(row)["custom_id"] for row in rows.good] == ["0", "1"]


def test_a_line_that_cannot_be_written_down_is_a_row_of_its_own_and_holds_up_no_other() -> None:
    rows, _ = written([said(0), b"0" * 80 + b"\n", said(2)], range(3))

    (bad,) = map(json.loads, rows.bad)
    assert [json.loads(row)["custom_id"] for row in rows.good] == ["0", "2"]
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("1", 500)
    assert bad["response"]["body"]["error"]["code"] == "internal_error"


def test_a_row_is_one_line_for_who_reads_the_file_as_text() -> None:
    ends = "".join(sign for sign in map(chr, range(0x3000)) if len(f"a{sign}b".splitlines()) == 2)
    rows, _ = written([said(0, instructions=ends)], range(1))

    (row,) = rows.good
    (text,) = row.decode().splitlines()
    assert json.loads(text)["response"]["body"]["instructions"] == ends


def test_a_line_that_ends_at_its_deadline_in_a_cancelled_batch_is_cancelled_and_not_expired() -> None:
    late = replace(ended(0, [said(0)]), status="failed", result=None, error=LATE)
    told = [rows_of([said(0)], [late], closing)[0] for closing in (None, CANCELLED)]

    assert [json.loads(row)["error"]["code"] for rows in told for row in rows.bad] == [
        "batch_expired", "batch_cancelled",
    ]  # fmt: skip
    assert [rows.late for rows in told] == [1, 0]


def written(lines: list[bytes], numbers: Iterable[int]) -> tuple[OutputRows, int]:
    """What is written of these that were answered, and how often their file was opened for it."""
    return rows_of(lines, [ended(n, lines) for n in numbers])


def rows_of(
    lines: list[bytes], found: list[LineAnswer], closing: JobError | None = None
) -> tuple[OutputRows, int]:
    file = b"".join(lines)
    with TemporaryDirectory() as folder:
        blobs = Counting(BlobSettings(url=folder))
        blobs.write(digest(file), file)
        batch = SimpleNamespace(
            id="batch_1",
            question=None,
            caller="anyone",
            digest=digest(file),
            endpoint="/v1/responses",
            gone=False,
            last=len(file),
        )
        held = LeasedBatch(cast(Any, SimpleNamespace(blobs=blobs)), cast(Any, SimpleNamespace(batch=batch)))
        rows = OutputWriter(held, closing)._rows(found)
    return rows, blobs.opened


def said(number: int, **more: str) -> bytes:
    body = asked(number) | more
    line = {"custom_id": str(number), "method": "POST", "url": "/v1/responses", "body": body}
    return jsonl([line])


def asked(number: int) -> dict[str, Any]:
    return {"model": "m", "input": "x" * number, "metadata": {"n": str(number)}}


def ended(number: int, lines: list[bytes]) -> LineAnswer:
    at = sum(map(len, lines[:number]))
    return LineAnswer(
        number=number + 1,
        custom_id=str(number),
        status="succeeded",
        job="job_" + "1" * 32,
        model="m",
        at=at,
        behind=at + len(lines[number]),
        result=succeeded().result,
    )
