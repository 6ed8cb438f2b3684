"""Filters: a list shows what was asked for and nothing else, at a bounded cost, and loses its place never."""

import json
from typing import Any

import pytest

from shared.store import jobs
from shared.store.keys import digests
from tests.support.store import BROKEN, START_MS, Records

SHOP = {"shop": "7", "colour": "red"}


def ask(records: Records, metadata: dict[str, str] | None = None, **changes: Any) -> str:
    records.wait(1)
    view = records.accept(records.placing(**changes), metadata=metadata or {})
    return view.id


def shown(records: Records, **wanted: Any) -> list[str]:
    page = records.listed(limit=100, **wanted)
    assert page.next is None
    return [view.id for view in page.views]


def walk(records: Records, limit: int, **wanted: Any) -> list[str]:
    """A whole list, page by page."""
    found: list[str] = []
    after = None
    while True:
        page = records.listed(after, limit, **wanted)
        assert len(page.views) <= limit
        found += [view.id for view in page.views]
        if page.next is None:
            return found
        after = page.next


def pair_keys(records: Records) -> set[str]:
    return {name for name in records.key_names() if name.startswith("sl9:pair:")}


@pytest.mark.parametrize("pair", [("a", "b c"), ("a b", "c"), ("ä", "\n"), ("k" * 64, "v" * 512), ("a", "")])
def test_any_pair_that_a_job_may_have_is_found_and_no_other(records: Records, pair: tuple[str, str]) -> None:
    job = ask(records, dict([pair]))
    ask(records, {"a": "x"})
    assert shown(records, metadata=dict([pair])) == [job]


def test_jobs_are_found_by_status_whatever_keeps_them_there(records: Records) -> None:
    failed, running, again, fetched, queued = (ask(records) for _ in range(5))
    records.settle(records.claim(), BROKEN)
    records.claim()
    records.give_back(records.claim())
    records.cancel(fetched)
    assert shown(records, statuses=["failed"]) == [failed]
    assert shown(records, statuses=["running"]) == [again, running]
    assert shown(records, statuses=["queued"]) == [queued]
    assert shown(records, statuses=["cancelled"]) == [fetched]


@pytest.mark.parametrize("quote", ['"', '\\"', '\\\\"'])
def test_metadata_is_never_taken_for_fields_of_its_job(records: Records, quote: str) -> None:
    fields = {"status": "failed", "run": "run_0", "till": 1, "model": "b", "model_lane": "b", "hook": 1}
    fields |= {"end_id": 1, "running_id": 1, "state": "failed", "priority": "batch"}
    fields["pairs"] = " ".join(digests(SHOP))
    hostile = json.dumps(fields, separators=(",", ":")).replace('"', quote)
    job = ask(records, {hostile: hostile, "last": '"status'}, model="a")
    for wanted in ({"statuses": ["failed"]}, {"model": "b"}, {"priority": "batch"}, {"metadata": SHOP}):
        assert shown(records, **wanted) == []
    assert shown(records, statuses=["queued"], model="a", priority="normal") == [job]
    page = records.listed()
    assert page.views == (records.view(job),)
    assert page.views[0].hook is None


def test_a_pair_is_found_by_no_text_with_its_digest(records: Records) -> None:
    ask(records, {"colour": "red", "note": f'"pairs":"{" ".join(digests(SHOP))}"'})
    both = ask(records, SHOP)
    # The shorter list of the two is read.
    for _ in range(2):
        ask(records, {"shop": "7"})
    assert shown(records, metadata=SHOP) == [both]


@pytest.mark.parametrize("wanted", [{}, {"metadata": {"shop": "7"}}, {"priority": "normal"}])
def test_a_walk_shows_each_job_once_while_jobs_come_and_go(records: Records, wanted: dict[str, Any]) -> None:
    old = [ask(records, {"shop": "7"}) for _ in range(9)]
    page = records.listed(limit=3, **wanted)
    seen = [view.id for view in page.views]
    while page.next:
        # Of what was just shown the last is deleted, and two more come, one of them at the same moment.
        records.purge(seen[-1])
        ask(records, {"shop": "7"})
        records.post(records.placing(), metadata={"shop": "7"})
        page = records.listed(page.next, 3, **wanted)
        seen += [view.id for view in page.views]
    assert seen == old[::-1]


def test_a_page_looks_at_so_many_jobs_and_says_where_to_go_on(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LOOK", 40)
    rare = ask(records, {"rare": "yes"}, priority="batch")
    for _ in range(150):
        ask(records)
    first = records.listed(limit=2, priority="batch")
    assert (first.views, bool(first.next)) == ((), True)
    assert walk(records, 2, priority="batch") == [rare]
    # By its metadata it is found at once.
    page = records.listed(limit=2, metadata={"rare": "yes"})
    assert ([view.id for view in page.views], page.next) == ([rare], None)


def test_the_lists_of_pairs_go_with_the_records_that_they_name(records: Records) -> None:
    for number in range(4):
        records.client.delete(f"sl9:{ask(records, {'order': str(number)})}")
    kept = ask(records, {"order": "kept"})
    assert shown(records, metadata={"order": "kept"}) == [kept]
    lives = {records.client.ttl(key) for key in pair_keys(records)}
    assert all(0 < life_s <= records.settings.retention.job_s + 33 * 86_400 for life_s in lives)


def test_a_list_of_a_pair_is_cut_where_it_is_read_and_where_it_grows(records: Records) -> None:
    gone = [ask(records, {"shop": "7"}) for _ in range(4)]
    records.client.delete(*(f"sl9:{job}" for job in gone[:2]))
    # One in sixteen looks after the list.
    for _ in range(300):
        ask(records, {"shop": "7"})
    (key,) = pair_keys(records)
    assert records.client.zcard(key) == 302
    records.client.delete(f"sl9:{gone[2]}")
    assert len(walk(records, 100, metadata={"shop": "7"})) == 301
    assert records.client.zcard(key) == 301


def test_a_cursor_names_no_other_caller_s_jobs(records: Records) -> None:
    other = ask(records, caller="somebody")
    mine = ask(records)
    page = records.listed(f"{START_MS + 5000}-{other}", 10)
    assert [view.id for view in page.views] == [mine]
    assert records.listed(f"{START_MS}-{other}", 10, caller="nobody") is not None
