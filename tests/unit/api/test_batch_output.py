"""Rows of lines that have ended."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.batches.lease import LeasedBatch
from api.batches.lines import file_lines
from api.batches.output import CANCELLED, EndedLine, OutputRows, OutputWriter
from shared.job import JobView
from shared.result import JobError
from tests.support.batches import jsonl
from tests.support.views import succeeded

LATE = JobError(code="deadline_exceeded", message="The job's deadline passed.")


@pytest.mark.parametrize("odd", [b"", b"\x0c\n", b" \x0b \n", b"\n\n\xef\xbb\xbf"])
def test_what_a_response_asked_is_read_from_its_line_whatever_blank_ones_stand_before_it(odd: bytes) -> None:
    rows = written([said(0), odd + said(1)])

    told = [json.loads(row) for row in rows.good]
    assert [row["custom_id"] for row in told] == ["0", "1"]
    assert all(row["response"]["body"]["metadata"] == {"n": row["custom_id"]} for row in told)


def test_a_line_that_cannot_be_written_down_is_a_row_of_its_own_and_holds_up_no_other() -> None:
    odd = said(1).replace(b"/v1/responses", b"/v1/nowhere")
    rows = written([said(0), odd, said(2)])

    (bad,) = map(json.loads, rows.bad)
    assert [json.loads(row)["custom_id"] for row in rows.good] == ["0", "2"]
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("1", 500)
    assert bad["response"]["body"]["error"]["code"] == "internal_error"


def test_a_line_that_ends_at_its_deadline_in_a_cancelled_batch_is_cancelled_and_not_expired() -> None:
    late = replace(succeeded(), status="failed", result=None, error=LATE)
    told = [written([said(0)], late, closing) for closing in (None, CANCELLED)]

    codes = [json.loads(row)["error"]["code"] for rows in told for row in rows.bad]
    assert codes == ["batch_expired", "batch_cancelled"]
    assert [rows.late for rows in told] == [1, 0]


def written(lines: list[bytes], job: JobView | None = None, closing: JobError | None = None) -> OutputRows:
    """What is written of these lines, which ended so."""
    batch = cast(Any, SimpleNamespace(id="batch_1", question=None, endpoint="/v1/responses", gone=False))
    lease = LeasedBatch(cast(Any, None), cast(Any, None), batch)
    found = file_lines(batch, io.BytesIO(b"".join(lines)), 0, 0, 2**20)
    return OutputWriter(lease, closing)._rows([EndedLine(line, job or succeeded()) for line in found])


def said(number: int, **more: str) -> bytes:
    body = {"model": "m", "input": "x" * number, "metadata": {"n": str(number)}} | more
    line = {"custom_id": str(number), "method": "POST", "url": "/v1/responses", "body": body}
    return jsonl([line])
