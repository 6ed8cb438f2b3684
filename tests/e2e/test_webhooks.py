"""Webhooks of the whole service: told once by whoever lives, whatever dies."""

from collections.abc import Iterator
from typing import Any

from tests.e2e.conftest import ECHO, SLOW
from tests.support.clients import Api, until
from tests.support.documents import pdf
from tests.support.receiver import receiver
from tests.support.service import COURIER, Service

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSBjYWxsZXIgaXRzZWxm"


def asked(model: str, text: str, url: str) -> dict[str, Any]:
    return {"model": model, "input": {"prompt": text}, "webhook": {"url": url, "secret": SECRET}}


def test_a_job_s_end_is_told_and_the_job_says_so(api: Api) -> None:
    with receiver((500, {})) as there:
        job = api.submit(**asked(ECHO, "tell me", there.url))
        view = until(lambda: (s := api.job(job))["webhook"]["delivered_at"] and s)
        first, second = there.verified(SECRET)
    assert first == second
    assert (first["type"], first["data"]["id"]) == ("job.succeeded", job)
    assert first["data"]["result"] == view["result"]
    assert [d["status"] for d in view["webhook"]["deliveries"]] == [500, 204]
    assert SECRET not in str(view)


def test_the_end_of_a_job_of_pages_is_told_once_with_what_became_of_its_pages(api: Api) -> None:
    pages = ("a.pdf", pdf(["one", "two", "three"]))
    upload = api.post("/v1/files", files={"file": pages}, data={"purpose": "user_data"})
    with receiver() as there:
        document = {"file": upload.json()["id"], "per": "page"}
        urls = api.post("/v1/jobs", json=asked(ECHO, "read", there.url) | {"document": document}).json()[
            "urls"
        ]
        view = until(lambda: (s := api.get(urls["self"]).json())["webhook"]["delivered_at"] and s)
        [event] = there.verified(SECRET)
    assert (event["type"], event["data"]["id"]) == ("job.succeeded", view["id"])
    assert event["data"]["pages"] == view["pages"] == {"total": 3, "succeeded": 3, "failed": 0}


def test_what_ended_without_a_courier_is_told_by_the_next(service: Service, api: Api) -> None:
    service.kill(COURIER)
    with receiver() as there:
        # The one that is cancelled would take ten seconds.
        texts = {ECHO: "later", SLOW: "later " * 100}
        done, cancelled = (api.submit(**asked(model, text, there.url)) for model, text in texts.items())
        api.post(f"/v1/jobs/{cancelled}/cancel")
        api.ended(done)
        assert there.calls == []
        service.start(COURIER)
        until(lambda: len(there.calls) == 2)
        ends = {e["data"]["id"]: e["type"] for e in there.verified(SECRET)}
    assert ends == {done: "job.succeeded", cancelled: "job.cancelled"}


def plain(model: str, text: str) -> dict[str, Any]:
    return {"model": model, "input": {"prompt": text}}


def events(api: Api) -> Iterator[Any]:
    """The whole log, page by page."""
    page: Any = {"has_more": True, "last_id": None}
    while page["has_more"]:
        place = {"after": page["last_id"]} if page["last_id"] else {}
        page = api.get("/v1/events", params={"limit": 100, **place}).json()
        yield from page["data"]


def test_an_endpoint_is_told_by_whichever_courier_lives_and_the_log_lists_the_same(
    service: Service, api: Api
) -> None:
    with receiver() as there:
        hook = api.post("/v1/webhooks", json={"url": there.url, "events": ["job.succeeded"]}).json()
        jobs = [api.submit(**plain(ECHO, "told at once"))]
        # Written down: else it would be told once more.
        until(lambda: api.get(f"/v1/webhooks/{hook['id']}/deliveries").json()["data"])
        service.kill(COURIER)
        jobs.append(api.submit(**plain(ECHO, "told by the next")))
        api.ended(jobs[1])
        service.start(COURIER)
        until(lambda: len(there.calls) == 2)
        api.delete(f"/v1/webhooks/{hook['id']}")
        logged = {event["id"]: event for event in events(api)}
        told_of = there.verified(hook["secret"])
    assert [event["data"]["id"] for event in told_of] == jobs
    for call, event in zip(there.calls, told_of, strict=True):
        assert logged[call.headers["webhook-id"]] == {"id": call.headers["webhook-id"], **event}
