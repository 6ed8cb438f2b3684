"""The store's clock was five minutes ahead and is put right: waits last that much longer, nothing is lost."""

from shared.settings import QueueSettings
from tests.support.hooks import ended, taken
from tests.support.store import FAILURE, LANE, SETTINGS, Records

AHEAD_S = 300
STEP_S = 1
"""Less than what looks like an outage."""


def test_a_clock_that_is_set_back_only_prolongs_waits(records: Records) -> None:
    records.settings = SETTINGS.model_copy(update={"queue": QueueSettings(backoff_s=20)})
    ended(records)
    told = taken(records)
    records.tell(told, 500, error="no", delay_s=30)
    _, dead, failed = (records.submit(text) for text in ("held", "dead", "failed"))
    records.rescue()
    held = records.claim()
    records.claim(worker="worker_02")
    records.give_back(records.claim(), FAILURE)
    records.wait(-AHEAD_S)
    rescued, due = [], []
    for _ in range((AHEAD_S + 60) // STEP_S):
        records.wait(STEP_S)
        assert records.renew(held) == []
        rescued += records.rescue()
        due += records.due()
    assert rescued == [(dead.run_id, LANE)]
    assert due == [LANE]
    assert records.settle(held) == "settled"
    assert {records.claim().id for _ in range(2)} == {dead.run_id, failed.run_id}
    assert taken(records).tries == 1
