"""The audit: what no history should leave is found and mended, and nothing healthy is touched."""

import re
from collections.abc import Callable

import pytest

from shared.store.audit import Audited, audit, doom
from shared.store.library import FOLDER
from tests.support.functions import sources
from tests.support.store import LANE, Records

PICTURE = "d" * 64


def test_healthy_records_are_left_alone(records: Records) -> None:
    records.beat()
    records.settle(records.claim()) if records.submit("done") else None
    records.submit("done")
    records.submit("waits", blobs=(PICTURE,))
    records.submit("runs", priority="interactive")
    records.claim()
    records.submit_pending()
    before = records.dump()
    assert records.audit() == {}
    assert records.dump() == before


def lose_place(records: Records) -> None:
    records.client.delete(f"sl3:queue:{LANE}", f"sl3:line:{LANE}:normal:anyone", f"sl3:turns:{LANE}:normal")


def lose_line(records: Records) -> None:
    records.client.delete(f"sl3:line:{LANE}:normal:anyone", f"sl3:turns:{LANE}:normal")


def lose_turn(records: Records) -> None:
    records.client.delete(f"sl3:turns:{LANE}:normal")


@pytest.mark.parametrize("lose", [lose_place, lose_line, lose_turn])
def test_work_that_stands_nowhere_is_put_in_line_again(
    records: Records, lose: Callable[[Records], None]
) -> None:
    view = records.submit()
    lose(records)
    assert records.try_claim() is None
    assert records.audit()["work_nowhere"] == 1
    assert records.claim().id == view.run_id


@pytest.mark.parametrize("kind", ["run", "job"])
def test_half_a_record_holds_up_the_repair_of_no_other(records: Records, kind: str) -> None:
    """As a store that was cut off, or another program, leaves it."""
    half = f"sl3:{kind}_{'0' * 32}"
    records.client.hset(half, mapping={"state": "queued"})
    view = records.submit()
    lose_place(records)
    found = records.audit()
    assert (found["half_a_record"], found["work_nowhere"]) == (1, 1)
    assert not records.client.exists(half)
    assert records.claim().id == view.run_id
    assert records.audit() == {}


def test_running_work_without_a_lease_is_rescued_if_its_worker_is_gone(records: Records) -> None:
    view = records.submit()
    records.claim()
    records.client.delete("sl3:lease")
    found = records.audit()
    assert found["work_nowhere"] == 1
    assert records.lose_worker() == [(view.run_id, LANE)]


def test_running_work_without_a_lease_goes_on_if_its_worker_lives(records: Records) -> None:
    records.submit()
    claim = records.claim()
    records.client.delete("sl3:lease")
    records.audit()
    assert records.renew(claim) == []
    assert records.settle(claim) == "settled"


def test_a_run_for_nobody_ends(records: Records) -> None:
    view = records.submit()
    records.client.delete(f"sl3:{view.id}")
    assert records.audit()["run_for_nobody"] == 1
    assert records.try_claim() is None


def test_a_job_whose_run_is_gone_fails_instead_of_waiting_for_ever(records: Records) -> None:
    view = records.submit()
    records.client.delete(f"sl3:{view.run_id}")
    records.audit()
    seen = records.view(view.id)
    assert (seen.status, seen.error and seen.error.code) == ("failed", "internal_error")
    assert records.events(view.id)[-1].type == "failed"


def test_a_job_that_outlived_its_run_ends_as_it_did(records: Records) -> None:
    view = records.submit()
    records.change(view.run_id, opener="job_0")
    records.settle(records.claim())
    assert records.audit()["job_outlived_run"] == 1
    assert records.view(view.id).status == "succeeded"


def test_a_job_nobody_watches_is_watched_again(records: Records) -> None:
    view = records.submit()
    records.client.delete("sl3:deadlines")
    assert records.audit() == {"job_without_deadline": 1}
    assert records.client.zscore("sl3:deadlines", view.id)


def test_keys_whose_record_is_gone_go(records: Records) -> None:
    view = records.submit("q")
    records.append(records.claim(), 0, "text")
    records.cancel(view.id)
    records.client.delete(f"sl3:{view.run_id}", f"sl3:{view.id}")
    records.client.set("sl3:join:anyone:x", "run_0")
    records.client.persist(f"sl3:{view.run_id}:events")
    found = records.audit()
    assert found["pointer_to_nothing"] == 1
    assert found["key_without_owner"] >= 1
    assert not [key for key in records.key_names() if str(view.run_id) in key]
    assert records.page() == []


def test_what_has_ended_gets_an_end_of_its_life(records: Records) -> None:
    view = records.submit()
    claim = records.claim()
    records.append(claim, 0, "text")
    records.settle(claim)
    for key in (f"sl3:{view.id}", f"sl3:{view.run_id}", f"sl3:{view.run_id}:events"):
        records.client.persist(key)
    found = records.audit()
    assert (found["undying_job"], found["undying_run"]) == (1, 1)
    assert records.client.ttl(f"sl3:{view.run_id}:events") > 0


def test_a_picture_held_for_what_has_gone_is_given_up(records: Records) -> None:
    records.submit(blobs=(PICTURE,))
    records.client.zadd(f"sl3:blob:{PICTURE}", {"run_0": "inf"})
    assert records.audit() == {"blob_held_by_nobody": 1}
    assert records.run(doom([PICTURE])) == []


def test_only_pictures_that_nobody_holds_are_doomed(records: Records) -> None:
    records.submit(blobs=(PICTURE,))
    assert records.run(doom([PICTURE, "e" * 64])) == ["e" * 64]


def test_counts_of_work_that_is_not_claimed_are_mended(records: Records) -> None:
    records.client.sadd(f"sl3:running:{LANE}", "run_0")
    records.client.sadd("sl3:held:worker_0", "run_0")
    assert records.audit() == {"claimed_without_lease": 2}


def test_strays_do_not_count_as_waiting(records: Records) -> None:
    records.client.zadd(f"sl3:queue:{LANE}", {"run_0": 1})
    assert records.audit() == {"stray_in_line": 1}
    assert not records.client.exists(f"sl3:queue:{LANE}")


def test_what_the_audit_found_is_counted(records: Records) -> None:
    records.client.sadd(f"sl3:running:{LANE}", "run_0")
    records.audit()
    assert records.client.hgetall("sl3:audit") == {"claimed_without_lease": "1"}


def test_work_for_jobs_that_are_gone_is_not_computed(records: Records) -> None:
    view = records.submit()
    records.client.delete(f"sl3:{view.id}")
    assert records.audit()["run_for_nobody"] == 1


@pytest.mark.parametrize("kind", ["line", "turns", "suspects", "clock", "spent"])
def test_what_is_left_of_a_line_goes(records: Records, kind: str) -> None:
    key = f"sl3:{kind}:{LANE}" + {"line": ":normal:anyone", "turns": ":normal", "spent": ":normal"}.get(
        kind, ""
    )
    if kind == "clock":
        records.client.hset(key, "now", "5")
    else:
        records.client.zadd(key, {"run_0": 1})
    assert sum(records.audit().values()) == 1
    assert not records.client.exists(key)


def test_a_key_nobody_knows_is_told_and_no_record_is_said_to_be_mended(records: Records) -> None:
    for name in ("rubbish:a", "rubbish:b"):
        records.client.set(f"sl3:{name}", "1")
    names = ("rubbish:a", "rubbish:b")
    assert records.run(audit(records.settings, names)) == Audited({}, ("sl3:rubbish",))
    assert not records.client.exists("sl3:audit")
    assert records.client.exists("sl3:rubbish:a", "sl3:rubbish:b") == 2


def test_every_key_of_the_scripts_is_known() -> None:
    """A healthy store would be said to hold what nobody knows."""
    audit = (FOLDER / "audit.lua").read_text(encoding="utf-8")
    lasting = audit[audit.index("local LASTING") :].partition("}")[0]
    known = {*re.findall(r"(\w+) = 1\b", lasting), *re.findall(r"kind(?: or name\))? == '(\w+)'", audit)}
    assert set(re.findall(r"P \.\. '([a-z]+):?'", sources())) - known == {"wake"}, "which is a channel"


def test_a_caller_whose_turn_was_lost_can_submit(records: Records) -> None:
    records.submit()
    lose_turn(records)
    records.submit()
    assert [records.try_claim() is not None for _ in range(3)] == [True, True, False]
