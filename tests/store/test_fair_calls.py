"""Callers share the couriers: whoever's receivers hang, others' calls are made."""

from collections.abc import Iterator

import pytest

from shared.store import webhook_endpoints
from shared.store.keys import HOOK, INTAKE
from shared.store.webhook_deliveries import DueDelivery
from shared.webhooks import EndpointUpdate, Webhook
from tests.support.hooks import endpoint, taken
from tests.support.store import Records
from worker.webhooks.deliverer import MAX_CALLS

MOST_HOST = 16
"""Calls at once to a host that bears all."""


def due(records: Records, caller: str, *hosts: str) -> None:
    """A call of this caller to each host."""
    for host in hosts:
        webhook = Webhook(f"https://{host}/", host=host)
        records.post(records.placing(caller=caller), webhook=webhook)
        records.settle(records.claim())


def host(delivery: DueDelivery) -> str:
    return delivery.url.split("/")[2]


def all_taken(records: Records) -> list[DueDelivery]:
    """As many as may be under way."""
    return list(iter(records.next_delivery, None))


def grown(records: Records, calls: int) -> list[DueDelivery]:
    """Calls under way once so many were answered."""
    under_way = all_taken(records)
    for _ in range(calls):
        records.tell(under_way.pop(0))
        under_way += all_taken(records)
    return under_way


def test_a_caller_with_many_hanging_hosts_leaves_threads_for_others(records: Records) -> None:
    due(records, "greedy", *(f"h{number}.example" for number in range(2 * MAX_CALLS)))
    under_way = all_taken(records)
    assert len(under_way) < MAX_CALLS
    due(records, "modest", "well.example")
    assert host(taken(records)) == "well.example"
    records.tell(under_way[0])
    assert taken(records).claim.caller == "greedy"
    assert records.next_delivery() is None


def test_with_a_second_courier_a_caller_has_twice_as_many(records: Records) -> None:
    due(records, "greedy", *(f"h{number}.example" for number in range(2 * MAX_CALLS)))
    for courier in ("courier_01", "courier_02"):
        records.beat(worker=courier, lane=INTAKE, state="loading", fingerprint="")
    assert MAX_CALLS < len(all_taken(records)) < 2 * MAX_CALLS


def test_a_caller_s_slow_origins_leave_threads_for_others_likewise(records: Records) -> None:
    for _ in range(20):
        records.submit_pending(caller="greedy")
    claims = iter(lambda: records.try_claim(lane=INTAKE, fingerprint=""), None)
    assert len(list(claims)) == 12
    records.submit_pending(caller="modest")
    assert records.claim_pending().caller == "modest"


def test_callers_take_turns_whoever_came_first(records: Records) -> None:
    due(records, "first", *["one.example"] * 6)
    due(records, "second", *["two.example"] * 2)
    assert list(order(records, 4)) == ["one.example", "two.example"] * 2


def test_a_caller_with_many_hosts_has_no_more_turns_than_one_with_one(records: Records) -> None:
    due(records, "many", *(f"h{number}.example" for number in range(6)))
    due(records, "one", *["one.example"] * 3)
    assert list(order(records, 6)).count("one.example") == 3


def test_the_hosts_of_a_caller_take_turns(records: Records) -> None:
    due(records, "one", *["busy.example"] * 6, "rare.example")
    assert set(order(records, 2)) == {"busy.example", "rare.example"}


def order(records: Records, calls: int) -> Iterator[str]:
    for _ in range(calls):
        delivery = taken(records)
        yield host(delivery)
        records.tell(delivery)


def test_a_host_that_hangs_has_one_call_under_way_and_the_others_go_on(records: Records) -> None:
    due(records, "greedy", *["hangs.example"] * 5)
    assert len(all_taken(records)) == 1
    due(records, "greedy", "well.example")
    assert host(taken(records)) == "well.example"


def test_a_host_that_answers_is_called_by_as_many_as_wait_and_no_more(records: Records) -> None:
    due(records, "one", *["well.example"] * 80)
    assert len(grown(records, 40)) == MOST_HOST


@pytest.mark.parametrize("status", [None, 503, 429])
def test_a_host_that_bears_no_more_is_called_less(records: Records, status: int | None) -> None:
    due(records, "one", *["strained.example"] * 60)
    under_way = grown(records, 20)
    assert len(under_way) > 8
    for delivery in under_way[:4]:
        records.tell(delivery, status, error="no", delay_s=60)
    for delivery in under_way[4:]:
        assert records.next_delivery() is None
        records.tell(delivery, 404, error="no")
    assert len(all_taken(records)) < 4


def test_one_caller_s_hanging_calls_do_not_close_a_host_to_others(records: Records) -> None:
    due(records, "one", *["shared.example"] * 2)
    taken(records)
    assert records.next_delivery() is None
    due(records, "two", "shared.example")
    assert host(taken(records)) == "shared.example"


def test_the_call_of_a_moved_endpoint_does_not_wait_for_its_former_host(records: Records) -> None:
    id = endpoint(records, "job.succeeded", url="https://former.example/", caller="one")
    records.post(records.placing(caller="one"))
    records.settle(records.claim())
    under_way = taken(records)
    moved = EndpointUpdate(url="https://moved.example/", host="moved.example", events=("job.failed",))
    records.run(webhook_endpoints.change("one", id, moved))
    due(records, "one", *["former.example"] * 2)
    assert records.tell(under_way, 410, error="gone") == "moved"
    assert {host(taken(records)) for _ in range(2)} == {"former.example", "moved.example"}


def test_the_calls_of_a_dead_courier_count_no_longer_than_their_lease(records: Records) -> None:
    due(records, "one", *["well.example"] * 2)
    assert taken(records)
    assert records.next_delivery() is None
    records.lose_worker()
    assert taken(records)


def test_a_call_whose_record_cannot_be_read_closes_its_host_only_while_others_wait(records: Records) -> None:
    due(records, "one", "well.example")
    records.client.hset(f"sl8:{taken(records).claim.id}", "r", "{")
    records.lose_worker()
    records.wait(10)
    records.rescue()
    due(records, "one", "well.example")
    assert taken(records)
    assert records.waiting(HOOK) == 0


def test_a_fetch_that_is_tried_alone_does_not_wait_for_its_courier_s_calls(records: Records) -> None:
    records.submit_pending()
    for _ in range(2):
        records.claim_pending()
        records.lose_worker()
    due(records, "one", "hangs.example")
    taken(records)
    assert records.try_claim(lane=INTAKE, worker="courier_01", fingerprint="") is not None
