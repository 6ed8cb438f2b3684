"""Replies get lost: whatever is asked for twice is done once, and answered as the first time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.api_keys import ApiKey
from shared.batch import BatchLease
from shared.file import Written
from shared.result import Piece
from shared.store import api_keys, batches, claims, files, webhooks
from shared.store.claims import Claim
from shared.store.script import ScriptCall
from shared.webhooks import DefaultWebhook
from tests.support.hooks import default_webhook, ended, taken
from tests.support.store import BROKEN, FAILURE, START_MS, Records, answer
from tests.support.stored_batches import REFUSAL, begun, create, now, upload

TOKEN = "t" * 32
KEY = ApiKey("key_0a", "production", "example-ltd", ("read",), START_MS)
FILE = Written("file-" + "1" * 32, "a.jsonl", "batch", 7, "d" * 64, 3600, "upload:1")
HOOK = DefaultWebhook("https://all.example/", ("job.failed",))


def claimed(records: Records) -> Claim:
    for _ in range(2):
        records.submit("q")
    return records.claim()


def answered_by_two(records: Records) -> Claim:
    claim = claimed(records)
    records.append(claim, 0, "one ")
    return claim


def fetched(records: Records) -> Claim:
    records.submit_pending()
    return records.claim_pending()


def fetched_for_nothing(records: Records) -> Claim:
    claim = fetched(records)
    records.remove_model()
    return claim


def hit(records: Records) -> Any:
    records.beat()
    records.settle(claimed(records))
    records.finish()
    return records.placing("q")


def keyed(records: Records) -> str:
    records.run(api_keys.create(KEY, "first"))
    return KEY.id


def told(records: Records) -> str:
    job = ended(records).id
    records.tell(taken(records))
    return job


def lines_of(records: Records) -> ScriptCall[Any]:
    turn = begun(records)
    return batches.take(turn, now(records), replace(now(records), row=3, at=30), {3: REFUSAL})


def looked_through(records: Records) -> BatchLease:
    return begun(records, doubles=[2])


def wide_claim(records: Records) -> ScriptCall[Any]:
    records.submit(rows=8)
    return claims.within(6, records.claiming(token=TOKEN))


def remove_and_sweep(records: Records, _: object) -> None:
    records.remove_model()
    records.sweep()


def of_another_answer(claim: Claim) -> ScriptCall[Any]:
    return claims.append(claim, Piece(0, "two ", (2,), choice=1))


CALLS: dict[str, tuple[Callable[[Records], Any], Callable[[Records, Any], object]]] = {
    "submit": (lambda r: r.placing("q"), lambda r, placing: r.post(placing).view),
    "submit to a hit": (hit, lambda r, placing: r.post(placing).view),
    "claim": (lambda r: [r.submit(), r.submit()], lambda r, _: r.claim(token=TOKEN)),
    "claim of several rows": (wide_claim, lambda r, call: r.run(call)),
    "append": (claimed, lambda r, claim: r.append(claim, 0, "one ")),
    "append to another answer": (answered_by_two, lambda r, claim: r.run(of_another_answer(claim))),
    "settle": (claimed, lambda r, claim: r.settle(claim, answer(str(r.token())))),
    "settle with a failure": (claimed, lambda r, claim: r.settle(claim, BROKEN)),
    "settle a fetch": (fetched, lambda r, claim: r.fail_intake(claim)),
    "admit": (fetched, lambda r, claim: r.admit(claim, "q") in ("queued", "placed")),
    "admit behind a removal": (fetched_for_nothing, lambda r, claim: r.admit(claim)),
    "give back": (claimed, lambda r, claim: r.give_back(claim, FAILURE) and None),
    "cancel": (lambda r: r.submit().id, lambda r, job: r.cancel(job)),
    "cancel behind the end": (lambda r: r.answered().id, lambda r, job: r.cancel(job)),
    "delete": (lambda r: r.submit(blobs=("d" * 64,)).id, lambda r, job: r.purge(job)),
    "pause": (lambda _: None, lambda r, _: r.pause()),
    "resume": (lambda r: r.pause(), lambda r, _: r.pause(paused=False)),
    "remove": (lambda r: r.submit(), remove_and_sweep),
    "beat": (lambda _: None, lambda r, _: r.beat(facts={"rows": "2", "failed": ""})),
    "keep a file": (lambda _: FILE, lambda r, file: r.run(files.create(file, "anyone"))),
    "make a batch": (upload, lambda r, _: create(r)),
    "look through a batch": (looked_through, lambda r, turn: r.run(batches.begin(turn, total=9, last=9))),
    "take lines": (lines_of, lambda r, call: r.run(call)),
    "make a key": (lambda _: KEY, lambda r, key: r.run(api_keys.create(key, "first"))),
    "rotate a key": (keyed, lambda r, id: r.run(api_keys.rotate(id, "second", 60))),
    "revoke a key": (keyed, lambda r, id: r.run(api_keys.revoke(id))),
    "set a webhook": (
        keyed,
        lambda r, id: r.run(api_keys.set_webhook(id, HOOK, "all.example", "secret")),
    ),
    "rotate a webhook's secret": (
        default_webhook,
        lambda r, id: r.run(api_keys.rotate_webhook(id, "new", 60)),
    ),
    "delete a webhook": (default_webhook, lambda r, id: r.run(api_keys.delete_webhook(id))),
    "tell of a call": (lambda r: (ended(r), taken(r))[1], lambda r, delivery: r.tell(delivery) and None),
    "redeliver": (told, lambda r, id: r.run(webhooks.redeliver(r.settings, "anyone", id))),
}
LATER = {"cancel", "keep a file", "make a key", "revoke a key"}
"""A second passes in between: what is said of the first time stays."""


@pytest.mark.parametrize("name", CALLS)
def test_what_is_asked_for_again_because_its_reply_was_lost_is_done_once(records: Records, name: str) -> None:
    begin, ask = CALLS[name]
    begun = begin(records)
    first = ask(records, begun)
    before = records.dump()
    records.wait(name in LATER)
    assert ask(records, begun) == first
    assert records.dump() == before
