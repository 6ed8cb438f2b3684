"""Webhooks of the whole service: told once by whoever lives, whatever dies."""

from typing import Any

from tests.e2e.conftest import ECHO, SLOW
from tests.support.clients import Api, until
from tests.support.receiver import receiver
from tests.support.service import COURIER, Service

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSBjYWxsZXIgaXRzZWxm"


def asked(model: str, text: str, url: str) -> dict[str, Any]:
    return {"model": model, "input": {"prompt": text}, "webhook": {"url": url, "secret": SECRET}}


def test_a_job_s_end_is_told_and_the_job_says_so(api: Api) -> None:
    with receiver((500, {})) as there:
        job = api.submit(**asked(ECHO, "tell me", there.url))
        seen = until(lambda: (s := api.job(job))["webhook"]["delivered_at"] and s)
        first, second = there.verified(SECRET)
    assert first == second
    assert (first["type"], first["data"]["id"]) == ("job.succeeded", job)
    assert first["data"]["result"] == seen["result"]
    assert [d["status"] for d in seen["webhook"]["deliveries"]] == [500, 204]
    assert SECRET not in str(seen)


def test_what_ended_without_a_courier_is_told_by_the_next(service: Service, api: Api) -> None:
    service.kill(COURIER)
    with receiver() as there:
        done, cancelled = (api.submit(**asked(m, f"later {m}", there.url)) for m in (ECHO, SLOW))
        api.post(f"/v1/jobs/{cancelled}/cancel")
        api.ended(done)
        assert there.told == []
        service.start(COURIER)
        until(lambda: len(there.told) == 2)
        told = {e["data"]["id"]: e["type"] for e in there.verified(SECRET)}
    assert told == {done: "job.succeeded", cancelled: "job.cancelled"}


def test_a_call_of_a_killed_courier_is_made_again_with_the_same_id_and_body(
    service: Service, api: Api
) -> None:
    with receiver() as there:
        there.open.clear()
        job = api.submit(**asked(ECHO, "while it dies", there.url))
        until(lambda: there.told)
        service.kill(COURIER)
        there.open.set()
        service.start(COURIER)
        until(lambda: api.job(job)["webhook"]["delivered_at"])
        first, second = there.told
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
