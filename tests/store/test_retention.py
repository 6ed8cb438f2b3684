"""Nothing stays for ever: after a whole life of jobs every key has a time to live, or a reason."""

from shared.store.keys import channel
from tests.support.store import LANE, Records

PICTURES = tuple(c * 64 for c in "def")
# One small record per model the installation ever served, and one counter.


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
