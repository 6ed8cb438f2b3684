"""A batch while everything is killed: every line is answered once, computed once, and counted once."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import ECHO, SLOW
from tests.support.batches import ENDPOINT, answers, jsonl, line, rows
from tests.support.clients import Api, until
from tests.support.pictures import answering, origin, picture
from tests.support.service import COURIER, Service

pytestmark = pytest.mark.timeout(480)
ENDED = ("completed", "failed", "expired", "cancelled")
GOOD, LOOKED, BAD = 60, 6, 10
"""Lines of a tenth of a second each, lines with a picture to be fetched, and lines without an answer."""


@pytest.fixture
def remote_picture() -> Iterator[str]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n"
    data = picture()
    with origin(answering(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)) as served:
        yield served.url


def bad(number: int) -> dict[str, Any] | str:
    name = f"bad-{number}"
    kinds: list[dict[str, Any] | str] = [
        f"this is no JSON {number}",
        {"custom_id": name, "method": "POST", "url": ENDPOINT},
        line(name, model="nobody/none"),
        line(name, temperature=1000),
        line("good-0", model=ECHO),
    ]
    return kinds[number % len(kinds)]


def lines(url: str) -> list[dict[str, Any] | str]:
    """The bad ones stand among the good ones."""
    asked: list[dict[str, Any] | str] = [line(f"good-{n}", f"word-{n}", model=SLOW) for n in range(GOOD)]
    for number in range(LOOKED):
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": f"seen {number}"}]
        one = line(f"seen-{number}", model=ECHO, messages=[{"role": "user", "content": parts}])
        asked.insert(5 + 10 * number, one)
    for number in range(BAD):
        asked.insert(7 * number + 1, bad(number))
    return asked


def begin(api: Api, asked: list[dict[str, Any] | str]) -> str:
    upload: dict[str, Any] = {"files": {"file": jsonl(asked)}, "data": {"purpose": "batch"}}
    file = api.post("/v1/files", **upload).json()["id"]
    body = {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": "24h"}
    reply = api.post("/v1/batches", json=body)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def shown(service: Service, batch: str) -> dict[str, Any]:
    """The batch as whichever API process lives shows it."""
    for name in ("api", "api-2"):
        with suppress(httpx.TransportError):
            reply = service.caller.get(f"{service.url(name)}/v1/batches/{batch}")
            if reply.status_code == 200:
                return dict(reply.json())
    return {"status": "unknown"}


def content(api: Api, file: str) -> list[dict[str, Any]]:
    return rows(api.get(f"/v1/files/{file}/content").content)


def jobs_of(api: Api) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = api.get("/v1/jobs", params={"limit": 100, **after}).json()
        jobs += [job for job in page["data"] if job["priority"] == "batch"]
        if not page["has_more"]:
            return jobs
        after = {"after": page["last_id"]}


def test_a_batch_is_answered_line_by_line_once_though_every_process_is_killed(
    service: Service, api: Api, remote_picture: str
) -> None:
    before = len(jobs_of(api))
    batch = begin(api, lines(remote_picture))
    for name in (SLOW, COURIER):
        written = progress(service, batch)
        service.kill(name)
        service.start(name)
        until(lambda written=written: progress(service, batch) > written or over(service, batch), 60)  # type: ignore[misc]
    service.kill("api")
    service.kill("api-2")
    service.ready("api", "api-2", COURIER, SLOW)

    until(lambda: over(service, batch), 240)
    ended = shown(service, batch)
    assert ended["status"] == "completed"
    assert ended["request_counts"] == {
        "total": GOOD + LOOKED + BAD,
        "completed": GOOD + LOOKED,
        "failed": BAD,
    }
    texts = {f"good-{n}": f"word-{n}" for n in range(GOOD)} | {
        f"seen-{n}": f"seen {n} [8x6]" for n in range(LOOKED)
    }
    assert answers(content(api, ended["output_file_id"])) == texts
    refused = [row["custom_id"] for row in content(api, ended["error_file_id"])]
    expected = [bad(n) for n in range(BAD)]
    assert sorted(map(str, refused)) == sorted(
        str(None if isinstance(row, str) else row["custom_id"]) for row in expected
    )
    assert len(jobs_of(api)) - before == GOOD + LOOKED, "a line was computed twice"


def progress(service: Service, batch: str) -> int:
    counts = shown(service, batch).get("request_counts", {})
    return int(counts.get("completed", 0) + counts.get("failed", 0))


def over(service: Service, batch: str) -> bool:
    return shown(service, batch)["status"] in ENDED
