"""Lines of a batch that cannot be answered, and files that no batch can be made of."""

from typing import Any

import pytest
from openai import AsyncOpenAI

from api.admission.submission import Submission
from shared.batch import MOST_LINES
from shared.job import JobView
from shared.request import Request
from tests.routes.conftest import Deployment
from tests.support.batches import ENDPOINT, answers, begun, content, ended, jsonl, line, serving

pytestmark = pytest.mark.usefixtures("quick_batches")

room = pytest.mark.parametrize("deployment", [{"queue": {"max_queued": 4000}}], indirect=True)
BAD: dict[str, tuple[dict[str, Any] | str, str | None]] = {
    "invalid_json_line": ("{not json", None),
    "invalid_request": ({"method": "POST", "url": ENDPOINT, "body": {}}, None),
    "url_mismatch": (line("elsewhere", url="/v1/responses"), "elsewhere"),
    "model_not_found": (line("nobody", model="nobody/none"), "nobody"),
    "unsupported_parameter": (line("stream", stream=True), "stream"),
    "duplicate_custom_id": (line("good-0"), "good-0"),
    "invalid_image": (line("broken", "fail this one"), "broken"),
    "invalid_image_url": (
        line(
            "private", messages=[{"role": "user", "content": [{"type": "image", "url": "http://10.0.0.1/x"}]}]
        ),
        "private",
    ),
}


@room
async def test_bad_lines_spoil_no_good_ones(deployment: Deployment, client: AsyncOpenAI) -> None:
    good = [line(f"good-{n}", f"text {n}", colour="red") for n in range(3)]
    async with serving(deployment.worker):
        made = await begun(client, [good[0], "", *(bad for bad, _ in BAD.values()), "   ", *good[1:]])
        batch = await ended(client, made)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": len(BAD) + 3, "completed": 3, "failed": len(BAD)}
    assert answers(await content(client, batch.output_file_id)) == {
        f"good-{n}": f"TEXT {n}" for n in range(3)
    }
    found = {
        row["response"]["body"]["error"]["code"]: row for row in await content(client, batch.error_file_id)
    }
    assert {code: row["custom_id"] for code, row in found.items()} == {
        code: id for code, (_, id) in BAD.items()
    }
    assert {code: row["response"]["status_code"] for code, row in found.items()} == {
        code: 404 if code == "model_not_found" else 400 for code in BAD
    }
    assert found["unsupported_parameter"]["response"]["body"]["error"]["param"] == "stream"
    assert found["duplicate_custom_id"]["response"]["body"]["error"]["message"].startswith("Line 8: ")
    assert batch.errors is not None
    told = [(problem.code, problem.line) for problem in batch.errors.data or []]
    assert told == [
        ("invalid_json_line", 3),
        ("invalid_request", 4),
        ("url_mismatch", 5),
        ("duplicate_custom_id", 8),
    ]


async def test_a_line_that_makes_the_service_fail_holds_up_no_other(
    deployment: Deployment, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = Submission.submit

    async def failing(own: Submission, request: Request, *rest: Any) -> JobView:
        if "boom" in request.model_dump_json():
            raise ValueError
        return await submit(own, request, *rest)

    monkeypatch.setattr(Submission, "submit", failing)
    async with serving(deployment.worker):
        batch = await ended(client, await begun(client, [line("first", "boom"), line("second", "text")]))
    (row,) = await content(client, batch.error_file_id)
    assert (row["custom_id"], row["response"]["body"]["error"]["code"]) == ("first", "internal_error")
    assert answers(await content(client, batch.output_file_id)) == {"second": "TEXT"}


@room
@pytest.mark.parametrize(
    ("lines", "code", "at"),
    [
        (["", "  "], "empty_file", None),
        (["custom_id,prompt", "1,What is this?"], "invalid_json_line", 1),
        ([line("1", url="/v1/responses")], "url_mismatch", 1),
        (["{}"] * (MOST_LINES + 1), "too_many_tasks", None),
    ],
)
async def test_a_file_without_a_single_good_line_fails_its_batch_before_anything_is_computed(
    client: AsyncOpenAI, lines: list[Any], code: str, at: int | None
) -> None:
    batch = await ended(client, await begun(client, lines))
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.errors is not None
    first = (batch.errors.data or [])[0]
    assert (first.code, first.line) == (code, at)
    assert batch.failed_at is not None


GOOD = [line("1", "one", colour="red"), line("2", "two", colour="red")]


@room
@pytest.mark.parametrize(
    ("file", "words"),
    [
        (jsonl(GOOD).decode().encode("utf-16"), "UTF-16"),
        (jsonl(GOOD).decode().encode("utf-16-be"), "UTF-16"),
        (jsonl(GOOD).replace(b"\n", b"\r"), "CR"),
        (b"\n" + jsonl(GOOD).replace(b"\n", b"\r"), "CR"),
    ],
    ids=["UTF-16", "UTF-16 without a mark", "CR alone", "CR alone behind an empty line"],
)
async def test_a_file_that_no_line_can_be_read_of_says_once_what_to_do(
    client: AsyncOpenAI, file: bytes, words: str
) -> None:
    batch = await ended(client, await begun(client, file))
    assert batch.errors is not None
    (problem,) = batch.errors.data or []
    assert (batch.status, problem.code, problem.line) == ("failed", "invalid_json_line", None)
    assert problem.message is not None
    assert words in problem.message
    assert "upload it again" in problem.message


@room
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n \n"])
async def test_marks_and_empty_lines_cost_no_line(
    deployment: Deployment, client: AsyncOpenAI, end: bytes
) -> None:
    file = b"\xef\xbb\xbf" + jsonl(GOOD).replace(b"\n", end)
    async with serving(deployment.worker):
        batch = await ended(client, await begun(client, file))
    assert answers(await content(client, batch.output_file_id)) == {"1": "ONE", "2": "TWO"}


@room
async def test_a_batch_whose_bytes_are_lost_fails(deployment: Deployment, client: AsyncOpenAI) -> None:
    made = await begun(client, [line("1")])
    deployment.worker.store.client.hset(f"sl9:{made.id}", "digest", "0" * 64)
    batch = await ended(client, made)
    assert batch.errors is not None
    assert (batch.status, (batch.errors.data or [])[0].code) == ("failed", "file_not_found")
