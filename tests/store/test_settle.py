"""Settle: a run ends once, with one result, and every job on it ends with it."""

from tests.support.store import LANE, SETTINGS, Records, answer


def test_the_end_is_kept_for_its_time_and_no_longer(records: Records) -> None:
    view = records.submit()
    claim = records.claim()
    records.append(claim, 0, "A red")
    records.settle(claim)
    assert records.life(view.id) == records.given(SETTINGS.retention.job_s)
    assert records.kept(view.id) == SETTINGS.retention.result_s
    left = records.client.ttl(f"sl9:{view.run_id}:events")
    assert left == records.given(SETTINGS.retention.result_s)
    records.wait(SETTINGS.retention.job_s)
    assert records.try_view(view.id) is None


def test_how_long_answers_take_is_measured(records: Records) -> None:
    for seconds in (2, 4):
        _, claim = records.started()
        # It waited for a row longer than it was computed.
        records.wait(60)
        records.settle(claim, answer().model_copy(update={"compute_s": float(seconds)}))
    assert float(records.client.hget(f"sl9:lane:{LANE}", "service_ms")) == 0.9 * 2000 + 0.1 * 4000
