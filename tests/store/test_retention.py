"""Nothing stays for ever: after a whole life of jobs every key has a time to live, or a reason."""

from shared.store.keys import INTAKE, channel
from shared.store.maintenance import lead
from tests.support.store import BROKEN, FAILURE, LANE, Records

PICTURES = tuple(c * 64 for c in "def")
# One small record per model the installation ever served, and one counter.
FOR_EVER = {"sl9:lanes", "sl9:upkeep", f"sl9:lane:{LANE}", f"sl9:lane:{INTAKE}"}


def live_and_end(records: Records) -> None:
    """Every way a job can come in and end."""
    records.beat()
    records.store.run(lead("courier_1", 60_000))
    keyed = {"idempotency": "key", "body_digest": "body"}
    records.post(records.placing("first"), **keyed)
    succeeded = records.claim()
    records.append(succeeded, 0, "text")
    records.settle(succeeded)
    assert records.submit("first").cache == "HIT"
    records.submit("failed", blobs=PICTURES[:1])
    assert records.submit("failed", blobs=PICTURES[:1]).cache == "COALESCED"
    records.settle(records.claim(), BROKEN)
    records.submit("exhausted", blobs=PICTURES)
    for _ in range(3):
        records.give_back(records.claim(), FAILURE)
    records.submit("poison", blobs=PICTURES[1:])
    for _ in range(3):
        records.claim()
        records.lose_worker()
    queued, running = records.submit(blobs=PICTURES[:2]), records.submit("running")
    records.cancel(queued.id)
    records.claim()
    records.cancel(running.id)
    purged = records.submit("purged", blobs=PICTURES)
    records.claim()
    records.purge(purged.id)


def take_in_and_end(records: Records) -> None:
    """Every way a job whose pictures are fetched can end."""
    waiting = records.submit_pending(blobs=PICTURES[:1])
    records.cancel(waiting.id)
    records.submit_pending(blobs=PICTURES[:1])
    records.fail_intake(records.claim_pending())
    records.submit_pending()
    for _ in range(3):
        records.claim_pending()
        records.lose_worker()
    records.submit_pending(blobs=PICTURES[:1])
    for _ in range(3):
        records.give_back(records.claim_pending(), FAILURE)
    job = records.submit_pending().id
    records.upload(records.placing(job=job, blobs=PICTURES))
    records.admit(records.claim_pending(), "admitted", blobs=PICTURES)
    records.settle(records.claim())
    records.upload(records.placing(blobs=PICTURES))


def test_after_the_last_job_s_end_every_key_has_a_time_to_live(records: Records) -> None:
    live_and_end(records)
    take_in_and_end(records)
    for _ in range(2):
        records.wait(40 * 86_400)
        records.fold()
    assert {key for key in records.key_names() if records.client.ttl(key) == -1} == FOR_EVER
    assert records.client.smembers("sl9:lanes") == {INTAKE, LANE}


def test_what_only_the_log_of_events_reads_any_more_is_shown_to_nobody(records: Records) -> None:
    job = records.answered()
    kept = records.settings.retention
    records.wait(kept.result_s)
    page = records.listed()
    assert [view.result for view in (*page.views, records.view(job.id))] == [None, None]
    records.wait(kept.job_s - kept.result_s)
    assert records.page() == []
    assert records.try_view(job.id) is None
    assert records.client.exists(f"sl9:{job.id}", f"sl9:{job.run_id}") == 2, "the log still needs them"


def test_while_a_job_is_alive_what_it_needs_has_no_time_to_live(records: Records) -> None:
    view = records.submit("q", blobs=PICTURES[:1])
    claim = records.claim()
    records.append(claim, 0, "text")
    needed = {f"sl9:{view.id}", f"sl9:join:{view.caller}:q", f"sl9:lease:{LANE}"}
    needed |= {f"sl9:{view.run_id}{suffix}" for suffix in ("", ":events")}
    assert {records.client.ttl(key) for key in needed} == {-1}
    assert records.client.ttl(f"sl9:blob:{PICTURES[0]}") > 32 * 86_400, "longer than any work"


def test_wake_ups_are_no_keys(records: Records) -> None:
    records.submit()
    assert not records.client.exists(channel("nobody"))
    assert not [key for key in records.key_names() if ":wake:" in key]
