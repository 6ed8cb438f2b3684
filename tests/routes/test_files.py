"""Files as OpenAI's client uploads, lists, reads and deletes them."""

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange
from tests.support.keys import KEYED, customer
from tests.support.uploads import blobs, form, post

SMALL = pytest.mark.parametrize("deployment", [{"api": {"file_limit_mb": 0.01}}], indirect=True)
HOUR = 3600
PURPOSE, FILE = ('name="purpose"', b"batch"), ('name="file"', b"x")


def living(seconds: bytes) -> tuple[tuple[str, bytes], ...]:
    """The fields of a form that say for how long its file is kept."""
    return ('name="expires_after[anchor]"', b"created_at"), ('name="expires_after[seconds]"', seconds)


async def test_a_file_is_uploaded_read_listed_and_deleted(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    data = b'{"custom_id": "1"}\n' * 1000
    made = await client.files.create(file=("q.jsonl", data), purpose="batch")
    ready = await client.files.wait_for_processing(made.id)
    content = await client.files.content(made.id)
    listed = [file.id async for file in client.files.list()]
    assert (made.filename, made.bytes) == ("q.jsonl", len(data))
    assert (made.purpose, ready.status) == ("batch", "processed")
    assert made.expires_at == made.created_at + 30 * 24 * HOUR
    assert content.content == data
    async with client_of(deployment.app) as http:
        head = await http.head(f"/v1/files/{made.id}/content")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(data)), b"")
    assert listed == [made.id]
    gone = await client.files.delete(made.id)
    assert (gone.id, gone.deleted) == (made.id, True)
    with pytest.raises(openai.NotFoundError) as refusal:
        await client.files.retrieve(made.id)
    assert refusal.value.code == "file_not_found"
    assert blobs(deployment.worker) == []


async def test_the_javascript_clients_order_of_parts_is_understood(deployment: Deployment) -> None:
    named = 'name="file"; filename="sub/dir\\night 1.jsonl"\r\nContent-Type: application/octet-stream'
    reply = await post(deployment.app, form((named, b"\r\n--edg"), PURPOSE))
    assert reply.status_code == 200, reply.text
    assert (reply.json()["filename"], reply.json()["bytes"]) == ("night 1.jsonl", 7)


NAMELESS = b"--edge\r\nContent-Type: text/plain\r\n\r\nvision\r\n--edge--"


@pytest.mark.parametrize(
    "body",
    [
        *(form((part, b"x")) for part in ("name*=utf-8''file; filename=a", 'name=""', 'filename="a"')),
        form(PURPOSE, ('name="file"', b"x")).replace(b"--edge--", NAMELESS),
    ],
)
async def test_who_gives_a_part_no_name_is_told_of_no_field(deployment: Deployment, body: bytes) -> None:
    error = (await post(deployment.app, body)).json()["error"]
    assert (error["message"], error["param"]) == ("A part of the form has no name.", None)


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([FILE], "purpose"),
        ([PURPOSE], "file"),
        ([PURPOSE, ('name="file"', b"")], "file"),
        ([PURPOSE, FILE, ('name="file"', b"y")], "file"),
        ([PURPOSE, ('name="purpose"', b"vision"), FILE], "purpose"),
        ([('name="purpose"', b"batch_output"), FILE], "purpose"),
        ([('name="purpose"', b"b" * 2000), FILE], "purpose"),
        ([PURPOSE, ('name="expires_after[seconds]"', b"3600"), FILE], "expires_after"),
        ([PURPOSE, *living(b"9" * 500), FILE], "expires_after"),
        ([PURPOSE, *living("٣٦٠٠".encode()), FILE], "expires_after"),
        ([PURPOSE, *living(b"3599"), FILE], "expires_after"),
        ([PURPOSE, *living(b"2592001"), FILE], "expires_after"),
    ],
)
async def test_a_wrong_form_is_refused_by_its_field_and_leaves_nothing(
    deployment: Deployment, parts: list[tuple[str, bytes]], param: str
) -> None:
    reply = await post(deployment.app, form(*parts))
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "invalid_request", param)
    assert blobs(deployment.worker) == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"", "multipart/form-data"),
        (b"no boundary here", "multipart/form-data; boundary=edge"),
        (form(PURPOSE)[:-8], "multipart/form-data; boundary=edge"),
        (b"--edge\r\n" + b"X-Header: y\r\n" * 1000, "multipart/form-data; boundary=edge"),
        (form(*((f'name="f{n}"', b"x") for n in range(40))), "multipart/form-data; boundary=edge"),
    ],
)
async def test_what_is_no_form_is_the_callers_error(deployment: Deployment, body: bytes, kind: str) -> None:
    reply = await post(deployment.app, body, **{"content-type": kind})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")
    assert blobs(deployment.worker) == []


@pytest.mark.parametrize(
    ("count", "length", "reason"),
    [
        (16, 1, "`purpose` is required"),
        (17, 1, "more than 16 fields"),
        (1, 1024, "`purpose` is required"),
        (1, 1025, "longer than 1024 bytes"),
    ],
)
async def test_a_form_s_fields_may_be_as_many_and_as_long_as_is_said(
    deployment: Deployment, count: int, length: int, reason: str
) -> None:
    reply = await post(deployment.app, form(*((f'name="f{n}"', b"x" * length) for n in range(count))))
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert reason in f"{error['code']} {error['message']}"


@pytest.mark.parametrize("seconds", [b"3600", b"2592000"])
async def test_a_file_may_live_for_an_hour_up_to_thirty_days(deployment: Deployment, seconds: bytes) -> None:
    reply = await post(deployment.app, form(PURPOSE, *living(seconds), FILE))
    assert reply.status_code == 200, reply.text


@SMALL
@pytest.mark.parametrize("announced", [True, False])
async def test_a_too_large_a_file_is_refused_as_it_arrives(deployment: Deployment, announced: bool) -> None:
    body = form(('name="purpose"', b"batch"), ('name="file"; filename="big"', b"x" * 200_000))
    headers = {"content-type": "multipart/form-data; boundary=edge"}
    if announced:
        headers["content-length"] = str(len(body))
    pieces = tuple(body[at : at + 10_000] for at in range(0, len(body), 10_000))
    call = Exchange(deployment.app, "POST", "/v1/files", headers=headers, chunks=pieces).start()
    await call.until(lambda seen: seen.status > 0)
    assert call.status == 413
    if not announced:
        assert len(call.pending) < len(pieces)
    call.hang_up()
    await call.finish()
    assert blobs(deployment.worker) == []


@SMALL
async def test_a_file_of_exactly_the_limit_is_kept(deployment: Deployment) -> None:
    limit = int(0.01 * 2**20)
    for size, status in [(limit, 200), (limit + 1, 413)]:
        parts = (('name="file"; filename="f"', b"x" * size), ('name="purpose"', b"user_data"))
        assert (await post(deployment.app, form(*parts))).status_code == status


class BrokenOff(Exchange):
    """A caller whose connection is lost behind its last chunk."""

    async def _receive(self) -> dict[str, Any]:
        if self.pending:
            return {"type": "http.request", "body": self.pending.pop(0), "more_body": True}
        return {"type": "http.disconnect"}


async def test_an_upload_that_breaks_off_leaves_nothing(deployment: Deployment) -> None:
    body = form(('name="purpose"', b"batch"), ('name="file"', b"x" * 3_000_000))
    headers = {"content-type": "multipart/form-data; boundary=edge"}
    call = BrokenOff(deployment.app, "POST", "/v1/files", headers=headers, chunks=(body[:2_000_000],)).start()
    await call.finish()
    assert blobs(deployment.worker) == []


async def test_uploads_at_one_time_do_not_mix(deployment: Deployment, client: AsyncOpenAI) -> None:
    contents = [bytes([n]) * (2_500_000 + n) for n in range(4)]
    made = await asyncio.gather(*(client.files.create(file=data, purpose="batch") for data in contents))
    read = [(await client.files.content(file.id)).content for file in made]
    assert read == contents
    assert len(blobs(deployment.worker)) == 4


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_a_keys_own_retention_bounds_what_a_file_asks_for(deployment: Deployment) -> None:
    async with await customer(deployment.app, "one", retain_s=7200) as one:
        lives = []
        for said in ({}, {"expires_after[seconds]": "3600"}, {"expires_after[seconds]": "9000"}):
            fields = {"purpose": "user_data", **({"expires_after[anchor]": "created_at"} if said else {})}
            file = (await one.post("/v1/files", files={"file": b"x"}, data=fields | said)).json()
            lives.append(file["expires_at"] - file["created_at"])
    assert lives == [7200, 3600, 7200]


async def test_lists_have_pages_that_end_in_either_order_and_by_purpose(client: AsyncOpenAI) -> None:
    purposes: list[Any] = ["batch", "user_data", "batch", "batch", "user_data"]
    made = [
        (await client.files.create(file=(f"{n}", b"x" * (n + 1)), purpose=purpose)).id
        for n, purpose in enumerate(purposes)
    ]
    newest = [file.id async for file in client.files.list(limit=2)]
    oldest = [file.id async for file in client.files.list(limit=1, order="asc")]
    batch = [file.id async for file in client.files.list(limit=2, purpose="batch")]
    assert newest == made[::-1]
    assert oldest == made
    assert batch == [made[3], made[2], made[0]]
