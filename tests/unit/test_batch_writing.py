"""Rows of lines that have ended."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

from api.batches.writing import Writing
from shared.batch import LineAnswer
from shared.blobs import Blobs, digest
from shared.settings import BlobSettings
from tests.support.batches import jsonl
from tests.support.views import succeeded

COUNT = 40


class Counting(Blobs):
    """Each opening is two requests of an object store, and a megabyte."""

    opened = 0

    def open(self, name: str) -> BinaryIO:
        self.opened += 1
        return super().open(name)


def test_what_responses_asked_is_read_from_their_batch_s_file_at_one_go(tmp_path: Path) -> None:
    lines = [
        jsonl([{"custom_id": str(n), "method": "POST", "url": "/v1/responses", "body": asked(n)}])
        for n in range(COUNT)
    ]
    file = b"".join(lines)
    blobs = Counting(BlobSettings(url=str(tmp_path / "blobs")))
    blobs.write(digest(file), file)
    batch = SimpleNamespace(id="batch_1", caller="anyone", digest=digest(file), endpoint="/v1/responses")
    held = SimpleNamespace(bench=SimpleNamespace(blobs=blobs), turn=SimpleNamespace(batch=batch))

    rows = Writing(cast(Any, held), None)._rows([ended(n, lines) for n in reversed(range(COUNT))])

    told = [json.loads(row) for row in rows.good]
    assert [row["custom_id"] for row in told] == [str(n) for n in reversed(range(COUNT))]
    assert all(row["response"]["body"]["metadata"] == {"n": row["custom_id"]} for row in told)
    assert blobs.opened == 1


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
