"""Cancel: one caller leaves; only the last one to leave stops the work."""

from shared.store.keys import channel
from tests.support.store import Records


def test_the_worker_of_a_run_that_nobody_waits_for_is_woken(records: Records) -> None:
    job = records.submit()
    records.claim(worker="worker_01")
    with records.client.pubsub() as heard:
        heard.subscribe(channel("worker_01"))
        records.cancel(job.id)
        records.client.publish(channel("worker_01"), "last")
        assert [next(heard.listen())["data"] for _ in range(2)] == [1, "state"]


def test_who_left_sees_their_job_no_longer_for_the_work_that_goes_on(records: Records) -> None:
    first, _ = records.submit("q"), records.submit("q")
    records.cancel(first.id)
    records.wait(records.settings.retention.job_s - 1)
    records.settle(records.claim())
    records.wait(2)
    assert records.try_view(first.id) is None
