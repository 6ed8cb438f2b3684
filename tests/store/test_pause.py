"""A paused model takes jobs and begins none; what runs finishes."""

from tests.support.store import Records


def test_nothing_is_begun_while_a_model_is_paused(records: Records) -> None:
    running, claim = records.started()
    records.beat()
    records.pause()
    waiting = records.submit()
    assert records.try_claim() is None
    assert records.view(waiting.id).waiting_reason == "paused"
    assert records.settle(claim) == "settled"
    assert records.view(running).status == "succeeded"
    records.pause(paused=False)
    assert records.claim().id == waiting.run_id


def test_who_waits_for_the_answer_is_told_that_the_model_is_paused(records: Records) -> None:
    records.beat()
    records.pause()
    assert records.post(records.placing(), must_be_ready=True).word == "paused"


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
