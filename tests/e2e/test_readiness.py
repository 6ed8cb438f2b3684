"""A model that is not ready: callers learn how long, jobs are kept, patient callers wait."""

import httpx

from tests.support.clients import Api, until
from tests.support.service import Service

LATE = "test/late"
QUESTION = {"inputs": "who is there"}


def ask_anew(api: Api) -> httpx.Response:
    """A question the cache does not answer."""
    return api.post(f"/models/{LATE}", json=QUESTION, headers={"x-use-cache": "false"})


def loading(api: Api) -> httpx.Response:
    """The refusal of a model that has begun to load."""
    return until(lambda: (r := ask_anew(api)).status_code == 503 and "is starting" in r.text and r)


def test_while_a_model_loads_callers_learn_when_to_come_back_and_jobs_are_kept(
    service: Service, api: Api
) -> None:
    service.start(LATE)
    refused = loading(api)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["estimated_time"] >= 1
    job = api.submit(model=LATE, input={"prompt": "kept meanwhile"})
    assert api.job(job)["waiting_reason"] == "model_loading"
    waited = api.post(f"/models/{LATE}", json=QUESTION, headers={"x-wait-for-model": "true"})
    assert waited.json() == [{"generated_text": "who is there"}]
    assert api.ended(job)["result"]["text"] == "kept meanwhile"

    # The next load is estimated from this one.
    service.processes[LATE].end()
    until(lambda: ask_anew(api).status_code == 503)
    cached = api.post(f"/models/{LATE}", json=QUESTION)
    assert cached.headers["x-cache"] == "HIT", "an answer that is known needs no model"
    service.start(LATE)
    refusals = [loading(api).json()]

    def serves() -> bool:
        if (reply := ask_anew(api)).status_code == 503:
            refusals.append(reply.json())
        return reply.status_code == 200

    until(serves)
    estimates = [body["estimated_time"] for body in refusals]
    assert {body["basis"] for body in refusals} == {"measured"}
    assert min(estimates) < estimates[0]
