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


def host(errand: DueDelivery) -> str:
    return errand.url.split("/")[2]


def test_a_caller_with_many_hanging_hosts_leaves_threads_for_others(records: Records) -> None:
    due(records, "greedy", *(f"h{number}.example" for number in range(20)))
    room, made = 16, list[DueDelivery]()
    while errand := records.errand(room):
        made.append(errand)
        room -= 1
    assert len(made) == 16 - RESERVED
    due(records, "modest", "well.example")
    errand = records.errand(room)
    assert errand is not None
    assert host(errand) == "well.example"


def test_many_such_callers_leave_threads_as_well(records: Records) -> None:
    room = 16
    for number in range(6):
        due(records, f"greedy{number}", *(f"h{number}.{n}.example" for n in range(20)))
    while records.errand(room):
        room -= 1
    assert room > 0
    due(records, "modest", "well.example")
    errand = records.errand(room)
    assert errand is not None
    assert host(errand) == "well.example"


def test_a_caller_that_has_its_calls_behind_it_goes_on(records: Records) -> None:
    due(records, "greedy", *(f"h{number}.example" for number in range(3)))
    errand = records.errand(RESERVED)
    assert errand is not None
    assert records.errand(RESERVED) is None
    records.tell(errand)
    assert records.errand(RESERVED) is not None


def test_callers_take_turns_whoever_came_first(records: Records) -> None:
    due(records, "first", *["one.example"] * 6)
    due(records, "second", *["two.example"] * 2)
    order = []
    for _ in range(4):
        records.wait(1)
        errand = taken(records)
        order.append(host(errand))
        records.tell(errand)
    assert order == ["one.example", "two.example"] * 2


def test_the_hosts_of_a_caller_take_turns(records: Records) -> None:
    due(records, "one", *["busy.example"] * 6, "rare.example")
    order = []
    for _ in range(2):
        records.wait(1)
        errand = taken(records)
        order.append(host(errand))
        records.tell(errand)
    assert set(order) == {"busy.example", "rare.example"}


def test_one_caller_s_hanging_calls_do_not_close_a_host_to_others(records: Records) -> None:
    due(records, "one", *["shared.example"] * (PER_HOST + 1))
    for _ in range(PER_HOST):
        taken(records)
    assert records.errand() is None
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
    assert records.errand(1) is not None
    assert records.errand(1) is None
    records.wait(60)
    assert records.errand(1) is not None
