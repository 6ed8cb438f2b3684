"""Machines that share no folder: what one of them takes in, another reads from the object store."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.support.batches import ENDPOINT, answers, jsonl, line, rows
from tests.support.clients import Api, until
from tests.support.documents import pdf
from tests.support.object_store import BUCKET, SECRET, URL, ObjectStore, object_store
from tests.support.pictures import answering, origin, picture
from tests.support.service import COURIER, Service, running_service
from tests.support.videos import video

ECHO = "test/echo"
MODELS = f"""
[[models]]
id = "{ECHO}"
engine = "echo"
rows = 2
"""
QUICK = {
    "SIGHTLINE_QUEUE__RESCUE_S": "0.2",
    "SIGHTLINE_QUEUE__BACKOFF_S": "0.2",
    "SIGHTLINE_FETCH__ALLOW": "127.0.0.1",
    "SIGHTLINE_FETCH__BUCKETS": f"s3://{BUCKET}/shared,acme=s3://{BUCKET}/acme,s3://{BUCKET}/own/{{caller}}",
    # As long as a machine may stand still, and longer.
    "SIGHTLINE_FETCH__LIMIT_S": "60",
    "SIGHTLINE_PICTURES__DECODE_LIMIT_S": "60",
    "SIGHTLINE_LOG_LEVEL": "debug",
}


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as started:
        yield started


@pytest.fixture(scope="module")
def service(server: ObjectStore) -> Iterator[Service]:
    env = {"SIGHTLINE_BLOBS__URL": URL, **QUICK, **server.env}
    with running_service(MODELS, env) as running:
        running.ready("api", "api-2", COURIER, ECHO)
        yield running
        told = "".join(running.log(name) for name in running.processes)
        assert SECRET not in told


def test_what_one_machine_takes_in_another_answers_though_they_share_no_folder(
    service: Service, server: ObjectStore
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n"
    data = picture()
    with ExitStack() as stack:
        api, other = stack.enter_context(Api(service.url())), stack.enter_context(Api(service.url("api-2")))
        assert api.get("/health").json()["blobs"] == {"kind": "s3", "state": "reachable"}
        served = stack.enter_context(
            origin(answering(head + b"Content-Length: %d\r\n\r\n" % len(data) + data))
        )
        fetched = api.submit(model=ECHO, input={"prompt": "fetched", "image": served.url})
        upload: dict[str, Any] = {"files": {"file": ("a.png", data)}, "data": {"purpose": "vision"}}
        named = api.post("/v1/files", **upload).json()["id"]
        assert api.ended(fetched)["result"]["text"] == "fetched [8x6]"
        assert other.get(f"/v1/files/{named}/content").content == data

        said = [line(f"{number}", f"word {number}", model=ECHO) for number in range(20)]
        upload = {"files": {"file": jsonl(said)}, "data": {"purpose": "batch"}}
        file = api.post("/v1/files", **upload).json()["id"]
        body = {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": "24h"}
        batch = api.post("/v1/batches", json=body).json()["id"]
        until(lambda: other.get(f"/v1/batches/{batch}").json()["status"] == "completed")
        written = other.get(f"/v1/batches/{batch}").json()["output_file_id"]
        output = rows(other.get(f"/v1/files/{written}/content").content)
        assert answers(output) == {f"{number}": f"word {number}" for number in range(20)}

        kept = server.names()
        for id in (named, file, written):
            assert other.delete(f"/v1/files/{id}").status_code == 200
        assert api.delete(f"/v1/jobs/{fetched}").status_code == 204
        assert len(kept - server.names()) >= 2, "what nobody needs any more is still there"
    assert not (service.folder / "blobs").exists()


SHARED = f"s3://{BUCKET}/shared/a.png"


def asking(text: str, image: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [image, {"type": text, "text": "see"}]}]


CHAT = {"type": "image_url", "image_url": {"url": SHARED}}
RESPONSE = {"type": "input_image", "image_url": SHARED}
PLACES: dict[str, dict[str, Any]] = {
    "/v1/jobs": {"model": ECHO, "input": {"prompt": "see", "image": SHARED}},
    "/v1/chat/completions": {"model": ECHO, "messages": asking("text", CHAT)},
    "/v1/responses": {"model": ECHO, "input": asking("input_text", RESPONSE)},
    f"/models/{ECHO}": {"inputs": f"![]({SHARED})see"},
}


@pytest.fixture(scope="module")
def _shared_picture(server: ObjectStore) -> None:
    httpx.put(f"{server.url}/{BUCKET}/shared/a.png", content=picture()).raise_for_status()


@pytest.mark.usefixtures("_shared_picture")
@pytest.mark.parametrize("place", PLACES)
def test_a_picture_in_a_bucket_that_the_operator_named_is_seen_wherever_a_url_is_taken(
    service: Service, place: str
) -> None:
    with Api(service.url()) as api:
        reply = api.post(place, json=PLACES[place], headers={"prefer": "wait=30"})
        assert reply.is_success, reply.text
        assert "see [8x6]" in reply.text


def test_videos_and_documents_in_a_bucket_are_seen_and_in_a_closed_one_refused_as_what_they_are(
    service: Service, server: ObjectStore
) -> None:
    files = {"video": (video(), 1), "document": (pdf(["one", "two"]), 2)}
    with Api(service.url()) as api:
        for kind, (data, shown) in files.items():
            httpx.put(f"{server.url}/{BUCKET}/shared/{kind}", content=data).raise_for_status()

            def asked(key: str, kind: str = kind) -> httpx.Response:
                part = {"type": kind, "url": f"s3://{BUCKET}/{key}/{kind}"}
                content = [part, {"type": "text", "text": "see"}]
                return api.post(
                    "/v1/jobs", json={"model": ECHO, "messages": [{"role": "user", "content": content}]}
                )

            job = asked("shared")
            assert job.is_success, job.text
            assert api.ended(job.json()["id"])["result"]["text"].count("[") == shown
            assert asked("acme").json()["code"] == f"invalid_{kind}"


def test_only_what_a_caller_may_name_is_read_from_a_bucket(service: Service, server: ObjectStore) -> None:
    for key, data in (("own/local/a.png", picture()), ("own/local/b.png", b"x" * (51 * 2**20))):
        httpx.put(f"{server.url}/{BUCKET}/{key}", content=data).raise_for_status()
    httpx.put(f"{server.url}/{BUCKET}/acme/a.png", content=picture()).raise_for_status()
    with Api(service.url()) as api:

        def asked(key: str) -> httpx.Response:
            image = f"s3://{BUCKET}/{key}"
            return api.post("/v1/jobs", json={"model": ECHO, "input": {"prompt": "see", "image": image}})

        assert api.ended(asked("own/local/a.png").json()["id"])["result"]["text"] == "see [8x6]"
        for key in ("acme/a.png", "own/acme/a.png", "shared/../acme/a.png", "of/ours/a"):
            refused = asked(key)
            assert (refused.status_code, refused.json()["code"]) == (400, "invalid_image_url"), key
            assert refused.json()["param"] == "input.image"
        for key, reason in (("shared/none.png", "no such object"), ("own/local/b.png", "larger than")):
            error = api.ended(asked(key).json()["id"])["error"]
            assert error["code"] == "fetch_failed"
            assert reason in error["message"]


def test_while_the_object_store_is_away_callers_come_again_and_accepted_jobs_wait(
    service: Service, server: ObjectStore
) -> None:
    upload: dict[str, Any] = {"files": {"file": ("a.png", picture())}, "data": {"purpose": "user_data"}}
    with Api(service.url()) as api:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n\r\n" + picture()
        server.kill()
        with origin(answering(head)) as served:
            job = api.submit(model=ECHO, input={"prompt": "fetched", "image": served.url})
            refused = api.post("/v1/files", **upload)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
            assert refused.json()["error"]["code"] == "store_unavailable"
            away = {"kind": "s3", "state": "unreachable"}
            until(lambda: api.get("/health").json()["blobs"] == away)
            text = api.submit(model=ECHO, input={"prompt": "no picture"})
            assert api.ended(text)["result"]["text"] == "no picture"
            assert api.get(f"/v1/jobs/{job}").json()["status"] == "queued"
            server.restart()
            assert api.ended(job)["result"]["text"] == "fetched [8x6]"
        assert api.post("/v1/files", **upload).status_code == 200
    with Redis.from_url(service.redis.url()) as records:
        assert not records.keys("sl9:lease")
