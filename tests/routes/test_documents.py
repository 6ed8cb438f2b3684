"""Documents through the doors: each page is a picture of the question, in every spelling the same."""

import base64
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from shared.request import Image, Request, Text
from tests.routes import conftest
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.documents import frames, locked, pdf
from tests.support.metrics import counted
from tests.support.pictures import picture
from tests.support.uploads import asking

PAGES = ["one", "two", "three"]
PDF = pdf(PAGES)
TEXT = {"type": "text", "text": "What is written here?"}
INLINE = base64.b64encode(PDF).decode()
PICTURE = picture("PNG")
URI = f"data:application/pdf;base64,{INLINE}"
MODEL = "sightline/tiny"


async def asked(deployment: Deployment, *parts: dict[str, Any], path: str = "/v1/jobs") -> httpx.Response:
    async with client_of(deployment.app) as client:
        return await client.post(path, json=asking(*parts, TEXT))


def file(data: bytes, **more: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": base64.b64encode(data).decode(), **more}}


def claimed(deployment: Deployment) -> Request:
    return Request.model_validate_json(deployment.worker.take().request)


def refusal(reply: httpx.Response) -> tuple[int, str, str]:
    problem = reply.json().get("error", reply.json())
    return reply.status_code, problem["code"], problem["param"]


@pytest.mark.parametrize("deployment", [{"documents": {"max_pages": 2}}], indirect=True)
async def test_of_a_document_the_first_page_and_their_number_are_seen_before_it_is_asked_about(
    deployment: Deployment,
) -> None:
    async with client_of(deployment.app) as client:
        good, bad = [
            (
                await client.post("/v1/files", files={"file": ("a", data)}, data={"purpose": "user_data"})
            ).json()
            for data in (PDF, PICTURE)
        ]
        page = await client.get(f"/v1/files/{good['id']}/page")
        none = await client.get(f"/v1/files/{bad['id']}/page")
        gone = await client.get("/v1/files/file-1/page")
    assert page.headers["content-type"] == "image/png"
    assert (page.content[:4], page.headers["x-pages"]) == (b"\x89PNG", "3")
    assert refusal(none) == (400, "invalid_document", "id")
    assert refusal(gone)[1] == "file_not_found"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_data": URI, "filename": "a.pdf"}},
        {"type": "document", "document": URI, "pages": "1-3"},
        {"type": "document", "url": URI, "filename": "a.pdf"},
        {"type": "input_file", "file_data": URI},
    ],
)
async def test_a_document_is_one_question_however_spelled(
    deployment: Deployment, part: dict[str, Any]
) -> None:
    deployment.worker.beat()
    await asked(deployment, file(PDF, filename="a.pdf"))
    claim = deployment.worker.take()
    deployment.worker.succeed(claim, "Numbers.")
    again = await asked(deployment, part)
    assert again.headers["x-cache"] == "HIT"
    parts = Request.model_validate_json(claim.request).messages[0].parts
    assert [type(part) for part in parts] == [Image, Image, Image, Text]
    assert len({part.digest for part in parts if isinstance(part, Image)}) == len(PAGES)


async def test_an_uploaded_document_is_the_same_question_in_every_dialect(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    made = await client.files.create(file=("a.pdf", PDF), purpose="user_data")
    await asked(deployment, file(PDF))
    deployment.worker.succeed(deployment.worker.take(), "Numbers.")
    named: Any = [{"type": "file", "file": {"file_id": made.id}}, TEXT]
    chat = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": named}])
    listed: Any = [
        {"type": "input_file", "file_id": made.id},
        {"type": "input_text", "text": TEXT["text"]},
    ]
    response = await client.responses.create(model=MODEL, input=[{"role": "user", "content": listed}])
    assert chat.choices[0].message.content == response.output_text == "Numbers."
    assert deployment.worker.idle()


async def test_pages_that_are_named_are_the_only_ones_that_a_model_sees(deployment: Deployment) -> None:
    deployment.worker.beat()
    await asked(deployment, {"type": "document", "document": INLINE, "pages": "3,1"})
    chosen = claimed(deployment).images
    await asked(deployment, {"type": "document", "document": INLINE, "pages": "1-"})
    every = claimed(deployment).images
    assert [image.digest for image in chosen] == [every[2].digest, every[0].digest]


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "GIF"])
async def test_each_page_of_a_tiff_webp_or_gif_is_seen(deployment: Deployment, kind: str) -> None:
    deployment.worker.beat()
    await asked(deployment, file(frames(kind, ["red", "green", "blue"])))
    assert len(claimed(deployment).images) == 3


@pytest.mark.parametrize(
    ("parts", "code", "words"),
    [
        ([file(locked())], "invalid_document", "password"),
        ([file(pdf([]))], "invalid_document", "no pages"),
        ([file(b"no document")], "invalid_document", "not a PDF, TIFF, WebP or GIF"),
        (
            [file(pdf(["a"] * 257))],
            "invalid_document",
            "256 fit into this question (max_pictures of the model, SIGHTLINE_PICTURES__MAX_COUNT); name",
        ),
        ([file(PDF), file(pdf(["a"] * 254))], "invalid_document", "253 fit"),
        ([file(pdf(["a"], (0, 0, 1, 14400)))], "invalid_document", "Page 1 of the document"),
        ([{"type": "document", "document": INLINE, "pages": "4"}], "invalid_document", "it has 3 pages"),
        ([{"type": "document", "document": INLINE, "pages": "2,1-3"}], "invalid_document", "twice"),
        ([{"type": "document", "document": INLINE, "pages": "all"}], "invalid_document", "like `1-3,7`"),
        ([{"type": "document", "document": "/etc/passwd"}], "invalid_document", "an http(s) URL"),
        ([{"type": "document", "url": "http://127.0.0.1/a.pdf"}], "invalid_document", ""),
        ([{"type": "file", "file": {"file_id": "a", "file_data": "b"}}], "invalid_request", "one of them"),
        ([{"type": "file", "file": {"file_id": "file-none"}}], "file_not_found", "no such file"),
        ([{"type": "text", "text": "x", "pages": "1"}], "unknown_field", "pages"),
    ],
)
async def test_a_document_that_cannot_be_used_is_refused_where_it_stands_with_what_to_do(
    deployment: Deployment, parts: Sequence[dict[str, Any]], code: str, words: str
) -> None:
    deployment.worker.beat()
    reply = await asked(deployment, *parts)
    status, told, param = refusal(reply)
    assert (status, told) == (404 if code == "file_not_found" else 400, code)
    assert param.startswith(f"messages[0].content[{len(parts) - 1}]")
    assert words in reply.text
    assert deployment.worker.idle()


async def test_a_document_too_large_is_refused_unread(deployment: Deployment, client: AsyncOpenAI) -> None:
    deployment.worker.beat()
    size = int(deployment.worker.settings.documents.max_mb * 2**20)
    made = await client.files.create(file=("a.pdf", b"%PDF-" + bytes(size)), purpose="user_data")
    reply = await asked(deployment, {"type": "document", "file_id": made.id})
    assert refusal(reply)[:2] == (413, "payload_too_large")


@pytest.mark.parametrize("deployment", [{"pictures": {"max_mb_request": 2**-16}}], indirect=True)
async def test_no_page_is_rendered_beyond_what_a_request_may_have(deployment: Deployment) -> None:
    deployment.worker.beat()
    before = counted("sightline_decode_seconds_count", kind="document")
    reply = await asked(deployment, file(PDF))
    assert refusal(reply) == (413, "payload_too_large", "messages[0].content[0].file.file_data")
    # The opening, and a page.
    assert counted("sightline_decode_seconds_count", kind="document") == before + 2


async def test_a_picture_sent_as_a_file_is_its_own_page(deployment: Deployment, client: AsyncOpenAI) -> None:
    """As the AI SDK sends a picture that it has uploaded."""
    deployment.worker.beat()
    shown = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    await asked(deployment, {"type": "image_url", "image_url": {"url": shown}})
    deployment.worker.succeed(deployment.worker.take(), "A circle.")
    upload = await client.files.create(file=("a.png", PICTURE), purpose="assistants")
    for part in ({"type": "file", "file": {"file_id": upload.id}}, file(PICTURE)):
        again = await asked(deployment, part)
        assert again.headers["x-cache"] == "HIT"


async def test_a_document_sent_as_a_picture_becomes_its_pages(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    upload = await client.files.create(file=("a.png", PDF), purpose="vision")
    shown: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{INLINE}"}},
        {"type": "input_image", "file_id": upload.id},
    ]
    await asked(deployment, *shown)
    assert len(claimed(deployment).images) == 2 * len(PAGES)


async def test_a_document_of_a_url_is_fetched_before_its_job_is_in_line(deployment: Deployment) -> None:
    deployment.worker.beat()
    reply = await asked(deployment, {"type": "input_file", "file_url": "https://example.org/a.pdf"})
    assert (reply.status_code, reply.json()["waiting_reason"]) == (202, "fetching_inputs")
    async with client_of(deployment.app) as client:
        stored = await client.get(f"/v1/jobs/{reply.json()['id']}/request")
    part = stored.json()["messages"][0]["content"][0]
    assert part == {"type": "document", "url": "https://example.org/a.pdf"}


@pytest.fixture
def _two_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = conftest.MODELS.replace('engine = "echo"', 'engine = "echo"\nmax_pictures = 2')
    monkeypatch.setattr(conftest, "MODELS", rows)


CHAT, RESPONSE, JOB = "/v1/chat/completions", "/v1/responses", "/v1/jobs"


@pytest.mark.usefixtures("_two_pictures")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, asking(file(PDF), TEXT)),
        (CHAT, asking({"type": "image_url", "image_url": {"url": URI}}, TEXT)),
        (JOB, asking({"type": "document", "document": INLINE}, TEXT)),
        (JOB, {"model": MODEL, "input": {"prompt": "What?", "image": URI}}),
        ("/v1/estimate", asking(file(PDF), TEXT)),
        (f"/models/{MODEL}", {"inputs": {"image": INLINE, "text": "What?"}}),
        (
            RESPONSE,
            {
                "model": MODEL,
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_file", "file_data": URI},
                            {"type": "input_text", "text": "What?"},
                        ],
                    }
                ],
            },
        ),
    ],
)
async def test_more_pages_than_the_model_takes_are_refused_by_name(
    deployment: Deployment, path: str, body: dict[str, Any]
) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        reply = await client.post(path, json=body)
        [listed, _] = (await client.get("/v1/models")).json()["data"]
    assert (reply.status_code, listed["max_pictures"]) == (400, 2)
    assert "3 pages are asked about, and 2 fit into this question (max_pictures of the model" in reply.text
    assert "name fewer in `pages`" in reply.text
    assert deployment.worker.idle()


async def test_an_estimate_counts_the_pages(deployment: Deployment) -> None:
    deployment.worker.beat()
    one = await asked(deployment, file(pdf(["one"])), path="/v1/estimate")
    three = await asked(deployment, file(PDF), path="/v1/estimate")
    counts = [reply.json()["tokens"]["image"] for reply in (one, three)]
    assert counts[1] == 3 * counts[0] > 0
