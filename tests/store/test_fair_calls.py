"""Callers share the couriers: whoever's receivers hang, others' calls are made."""

from shared.store import webhook_endpoints
from shared.store.webhook_deliveries import PER_HOST, RESERVED, DueDelivery
from shared.webhooks import EndpointUpdate, Webhook
from tests.support.hooks import endpoint, taken
from tests.support.store import Records


def due(records: Records, caller: str, *hosts: str) -> None:
    """A call of this caller to each host."""
    for host in hosts:
        webhook = Webhook(f"https://{host}/", host=host)
        records.post(records.placing(caller=caller), webhook=webhook)
        records.settle(records.claim())


def host(delivery: DueDelivery) -> str:
    return delivery.url.split("/")[2]


def test_a_caller_with_many_hanging_hosts_leaves_threads_for_others(records: Records) -> None:
    due(records, "greedy", *(f"h{number}.example" for number in range(20)))
    room, made = 16, list[DueDelivery]()
    while delivery := records.next_delivery(room):
        made.append(delivery)
        room -= 1
    assert len(made) == 16 - RESERVED
    due(records, "modest", "well.example")
    delivery = records.next_delivery(room)
    assert delivery is not None
    assert host(delivery) == "well.example"


def test_many_such_callers_leave_threads_as_well(records: Records) -> None:
    room = 16
    for number in range(6):
        due(records, f"greedy{number}", *(f"h{number}.{n}.example" for n in range(20)))
    while records.next_delivery(room):
        room -= 1
    assert room > 0
    due(records, "modest", "well.example")
    delivery = records.next_delivery(room)
    assert delivery is not None
    assert host(delivery) == "well.example"


def test_a_caller_that_has_its_calls_behind_it_goes_on(records: Records) -> None:
    due(records, "greedy", *(f"h{number}.example" for number in range(3)))
    delivery = records.next_delivery(RESERVED)
    assert delivery is not None
    assert records.next_delivery(RESERVED) is None
    records.tell(delivery)
    assert records.next_delivery(RESERVED) is not None


def test_callers_take_turns_whoever_came_first(records: Records) -> None:
    due(records, "first", *["one.example"] * 6)
    due(records, "second", *["two.example"] * 2)
    order = []
    for _ in range(4):
        records.wait(1)
        delivery = taken(records)
        order.append(host(delivery))
        records.tell(delivery)
    assert order == ["one.example", "two.example"] * 2


def test_the_hosts_of_a_caller_take_turns(records: Records) -> None:
    due(records, "one", *["busy.example"] * 6, "rare.example")
    order = []
    for _ in range(2):
        records.wait(1)
        delivery = taken(records)
        order.append(host(delivery))
        records.tell(delivery)
    assert set(order) == {"busy.example", "rare.example"}


def test_who_comes_behind_a_hanging_host_or_caller_is_still_called(records: Records) -> None:
    due(records, "greedy", *["hangs.example"] * (PER_HOST + 1))
    for _ in range(PER_HOST):
        taken(records)
    records.wait(1)
    due(records, "greedy", "well.example")
    assert host(taken(records)) == "well.example"
    records.wait(1)
    due(records, "modest", "other.example")
    delivery = records.next_delivery(RESERVED)
    assert delivery is not None
    assert host(delivery) == "other.example"


def test_one_caller_s_hanging_calls_do_not_close_a_host_to_others(records: Records) -> None:
    due(records, "one", *["shared.example"] * (PER_HOST + 1))
    for _ in range(PER_HOST):
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
    due(records, "one", *["former.example"] * PER_HOST)
    for _ in range(PER_HOST - 1):
        taken(records)
    records.wait(1)
    assert records.tell(under_way, 410, error="gone") == "moved"
    assert {host(taken(records)) for _ in range(2)} == {"former.example", "moved.example"}


def test_the_calls_of_a_dead_courier_count_no_longer_than_their_lease(records: Records) -> None:
    due(records, "one", *(f"h{number}.example" for number in range(3)))
    assert records.next_delivery(1) is not None
    assert records.next_delivery(1) is None
    records.wait(60)
    assert records.next_delivery(1) is not None
