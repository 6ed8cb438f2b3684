"""Cancel: one caller leaves; only the last one to leave stops the work."""

from shared.store.keys import channel
from tests.support.store import Records


def test_the_worker_of_a_run_that_nobody_waits_for_is_woken(records: Records) -> None:
    job = records.submit()
    records.claim(worker="worker_01")
    assert news_of_a_cancel(records, job.id, "worker_01") == [1, "state"]


def news_of_a_cancel(records: Records, job: str, listener: str) -> list[object]:
    with records.client.pubsub() as heard:
        heard.subscribe(channel(listener))
        records.cancel(job)
        records.client.publish(channel(listener), "last")
        return [next(heard.listen())["data"] for _ in range(2)]


def test_who_left_sees_their_job_no_longer_for_the_work_that_goes_on(records: Records) -> None:
    first, _ = records.submit("q"), records.submit("q")
    records.cancel(first.id)
    records.wait(records.settings.retention.job_s - 1)
    records.settle(records.claim())
    records.wait(2)
    assert records.try_view(first.id) is None
