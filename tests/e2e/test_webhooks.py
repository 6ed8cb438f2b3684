"""Webhooks of the whole service: told once by whoever lives, whatever dies."""

from tests.e2e.conftest import ECHO, SLOW
from tests.support.clients import Api, until
from tests.support.receiver import receiver
from tests.support.service import COURIER, Service

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSBjYWxsZXIgaXRzZWxm"


def test_an_end_without_a_courier_is_delivered_once_by_the_next(service: Service, api: Api) -> None:
    with receiver() as there:
        webhook = {"url": there.url, "secret": SECRET}
        first = api.submit(model=ECHO, input={"prompt": "told at once"}, webhook=webhook)
        # Written down: otherwise it would be delivered once more.
        until(lambda: api.get(f"/v1/jobs/{first}").json()["webhook"]["delivered_at"])
        service.kill(COURIER)
        # The one that is cancelled would take ten seconds.
        texts = {ECHO: "told by the next", SLOW: "later " * 100}
        done, cancelled = (
            api.submit(model=model, input={"prompt": text}, webhook=webhook) for model, text in texts.items()
        )
        api.post(f"/v1/jobs/{cancelled}/cancel")
        api.ended(done)
        assert len(there.calls) == 1
        service.start(COURIER)
        until(lambda: len(there.calls) == 3)
        ends = {event["data"]["id"]: event["type"] for event in there.verified(SECRET)}
    assert ends == {first: "job.succeeded", done: "job.succeeded", cancelled: "job.cancelled"}
