"""Replies get lost: whatever is asked for twice is done once, and answered as the first time."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from shared.api_keys import ApiKey
from shared.file import Written
from shared.result import Piece
from shared.store import api_keys, batches, claims, files, webhook_deliveries, webhook_endpoints
from shared.store.claims import Claim
from shared.webhooks import Endpoint
from tests.support.hooks import ended, endpoint, taken
from tests.support.store import BROKEN, FAILURE, START_MS, Records
from tests.support.stored_batches import REFUSAL, begun, create, upload

Asked = Callable[[], object]
KEY = ApiKey("key_0a", "production", "example-ltd", ("read",), START_MS)
FILE = Written("file-" + "1" * 32, "a.jsonl", "batch", 7, "d" * 64, 3600, "upload:1")


def claimed(records: Records) -> Claim:
    for _ in range(2):
        records.submit("q")
    return records.claim()


def fetched(records: Records) -> Claim:
    records.submit_pending()
    return records.claim_pending()


def submission(records: Records) -> Asked:
    placing = records.placing("q")
    return lambda: records.post(placing).view


def hit(records: Records) -> Asked:
    records.beat()
    records.settle(claimed(records))
    records.finish()
    return submission(records)


def claim(records: Records) -> Asked:
    for _ in range(2):
        records.submit()
    return lambda: records.claim(token="t" * 32)


def wide_claim(records: Records) -> Asked:
    records.submit(rows=8)
    call = claims.within(6, records.claiming(token="t" * 32))
    return lambda: records.run(call)


def piece(records: Records) -> Asked:
    claim = claimed(records)
    return lambda: records.append(claim, 0, "one ")


def piece_of_another_answer(records: Records) -> Asked:
    claim = claimed(records)
    records.append(claim, 0, "one ")
    return lambda: records.run(claims.append(claim, Piece(0, "two ", (2,), choice=1)))


def end(records: Records) -> Asked:
    claim, outcomes = claimed(records), iter((None, BROKEN))
    return lambda: records.settle(claim, next(outcomes))


def failure(records: Records) -> Asked:
    claim, outcomes = claimed(records), iter((BROKEN, None))
    return lambda: records.settle(claim, next(outcomes))


def failed_fetch(records: Records) -> Asked:
    claim = fetched(records)
    return lambda: records.fail_intake(claim)


def admission(records: Records) -> Asked:
    claim = fetched(records)
    return lambda: records.admit(claim, "q") in ("queued", "placed")


def late_admission(records: Records) -> Asked:
    claim = fetched(records)
    records.remove_model()
    return lambda: records.admit(claim)


def return_of_work(records: Records) -> Asked:
    claim = claimed(records)
    return lambda: records.give_back(claim, FAILURE) and None


def rescue(records: Records) -> Asked:
    claimed(records)
    return lambda: records.lose_worker() and None


def cancel(records: Records) -> Asked:
    job = records.submit().id
    return lambda: (records.wait(1), records.cancel(job))[1]


def cancel_behind_the_end(records: Records) -> Asked:
    job = records.answered().id
    return lambda: records.cancel(job)


def deletion(records: Records) -> Asked:
    job = records.submit(blobs=("d" * 64,)).id
    return lambda: records.purge(job)


def pause(records: Records) -> Asked:
    return records.pause


def resumption(records: Records) -> Asked:
    records.pause()
    return lambda: records.pause(paused=False)


def removal(records: Records) -> Asked:
    records.submit()
    return lambda: (records.remove_model(), records.sweep())[0]


def beat(records: Records) -> Asked:
    return lambda: records.beat(facts={"rows": "2", "failed": ""})


def file(records: Records) -> Asked:
    return lambda: (records.wait(1), records.run(files.create(FILE, "anyone")))[1]


def batch(records: Records) -> Asked:
    upload(records)
    return lambda: create(records)


def look_through_a_batch(records: Records) -> Asked:
    turn = begun(records, doubles=[2])
    return lambda: records.run(batches.begin(turn, total=9, last=9))


def lines_taken(records: Records) -> Asked:
    turn = begun(records)
    call = batches.take(turn, *steps(records), {3: REFUSAL})
    return lambda: records.run(call)


def steps(records: Records):  # type: ignore[no-untyped-def]
    found = records.run(batches.batches("anyone", after=None, limit=1))
    assert found
    return found[0], replace(found[0], row=3, at=30)


def api_key(records: Records) -> Asked:
    return lambda: (records.wait(1), records.run(api_keys.create(KEY, "first")))[1]


def rotation(records: Records) -> Asked:
    records.run(api_keys.create(KEY, "first"))
    return lambda: records.run(api_keys.rotate(KEY.id, "second", 60))


def revocation(records: Records) -> Asked:
    records.run(api_keys.create(KEY, "first"))
    return lambda: (records.wait(1), records.run(api_keys.revoke(KEY.id)))[1]


def new_endpoint(records: Records) -> Asked:
    made = Endpoint("wh_1", "https://all.example/", ("job.*",), "", 0)
    return lambda: records.run(webhook_endpoints.create("anyone", made, "all.example", "secret"))


def rotation_of_an_endpoint(records: Records) -> Asked:
    id = endpoint(records)
    return lambda: records.run(webhook_endpoints.rotate("anyone", id, "new", 60))


def webhook_call(records: Records) -> Asked:
    ended(records)
    return lambda: records.next_delivery(token="t" * 32)


def told(records: Records) -> Asked:
    ended(records)
    delivery = taken(records)
    return lambda: records.tell(delivery) and None


def replay(records: Records) -> Asked:
    job = ended(records).id
    records.tell(taken(records))
    return lambda: records.run(webhook_deliveries.replay(records.settings, "anyone", job))


ASKED = (
    *(submission, hit, claim, wide_claim, piece, piece_of_another_answer, end, failure, failed_fetch),
    *(admission, late_admission, return_of_work, rescue, cancel, cancel_behind_the_end, deletion),
    *(pause, resumption, removal, beat, file, batch, look_through_a_batch, lines_taken),
    *(api_key, rotation, revocation, new_endpoint, rotation_of_an_endpoint, webhook_call, told, replay),
)


@pytest.mark.parametrize("begun", ASKED, ids=lambda begun: begun.__name__)
def test_what_is_asked_for_again_because_its_reply_was_lost_is_done_once(
    records: Records, begun: Callable[[Records], Asked]
) -> None:
    ask = begun(records)
    first = ask()
    before = records.dump()
    assert ask() == first
    assert records.dump() == before
