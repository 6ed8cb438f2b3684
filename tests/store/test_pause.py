"""A paused model takes jobs and begins none; what runs finishes."""

from tests.support.store import Records


def test_a_worker_s_claim_whose_reply_was_lost_survives_the_pause(records: Records) -> None:
    records.submit()
    token = records.token()
    claim = records.claim(token=token)
    records.pause()
    assert records.try_claim(token=token) == claim


def test_other_models_go_on(records: Records) -> None:
    records.pause()
    records.submit(lane="model.other")
    assert records.try_claim(lane="model.other") is not None
    assert records.lane_state()["paused"]
