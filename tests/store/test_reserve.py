"""Accepted work has room to end: reserved from what it may answer, then settled to what it does hold."""

from dataclasses import replace

from shared.store import admission, claims
from shared.store.admission import Submitted
from shared.store.headroom import holding, memory
from shared.store.script import Store
from tests.support.hooks import submit, taken
from tests.support.store import PRINT, Records, answer

LONG = answer("x" * 30_000)
ROOM = 150_000


def ask(records: Records, question: str = "", spare: int | None = None) -> Submitted:
    placing = replace(records.placing(question), room=ROOM)
    return records.run(admission.submit(placing, records.settings, uploaded=True, spare=spare))


def reserved(records: Records) -> int:
    return int(records.client.hget("sl9:mem", "") or 0)


def held(records: Records) -> int:
    return records.run(holding("anyone"))


def test_room_is_reserved_until_the_end_and_joined_questions_need_none(records: Records) -> None:
    for number in range(2):
        ask(records, question="q")
        waiting = ask(records, question=f"other {number}").view
    assert waiting is not None
    assert reserved(records) == 3 * ROOM
    records.settle(records.claim())
    assert reserved(records) == 2 * ROOM
    records.cancel(str(waiting.id))
    assert reserved(records) == ROOM
    records.settle(records.claim(), LONG)
    assert reserved(records) == 0


def test_a_job_whose_inputs_are_fetched_has_its_room_from_the_start(records: Records) -> None:
    records.submit_pending()
    assert reserved(records) == admission.ROOM
    records.admit(records.claim_pending())
    assert reserved(records) == admission.ROOM
    records.submit_pending()
    records.fail_intake(records.claim_pending())
    assert reserved(records) == admission.ROOM


def test_work_that_finds_no_room_is_refused_whole(records: Records) -> None:
    assert ask(records, spare=3 * ROOM, question="q").word == "queued"
    assert ask(records, spare=3 * ROOM).word == "queued"
    before = records.dump()
    assert ask(records, spare=3 * ROOM).word == "memory"
    assert records.dump() == before
    assert ask(records, spare=3 * ROOM, question="q").word == "known", "what is computed anyway needs no more"


def test_a_caller_is_charged_for_the_question_that_its_lists_show(records: Records) -> None:
    charged = []
    for question in ("", "x" * 400):
        before = held(records)
        records.post(replace(records.placing(), question=question, request="{}"))
        charged.append(held(records) - before)
    assert charged[1] - charged[0] == 400


def test_a_caller_is_charged_what_its_answers_hold(records: Records) -> None:
    ask(records)
    assert held(records) > ROOM
    claim = records.claim()
    records.append(claim, 0, "x" * 10_000)
    records.settle(claim, LONG)
    assert 40_000 < held(records) < 45_000, "one copy of the answer"


def test_what_was_accepted_ends_and_the_server_stays_below_its_limit(store: Store) -> None:
    records, limit = Records(store), 24 * 2**20
    records.client.config_set("maxmemory", limit)
    try:
        accepted = 0
        while True:
            used, *_ = records.run(memory())
            if ask(records, spare=int(0.9 * limit) - used).word == "memory":
                break
            accepted += 1
        highest = 0
        for _ in range(accepted):
            claim = records.claim()
            records.append(claim, 0, "x" * 30_000)
            assert records.run(claims.settle(records.settings, claim, LONG, fingerprint=PRINT)) == "settled"
            highest = max(highest, records.run(memory()).used)
        assert accepted > 100
        assert highest < limit
    finally:
        records.client.config_set("maxmemory", 0)


def test_a_caller_is_charged_for_a_question_that_never_had_a_run_while_it_is_kept(records: Records) -> None:
    """Else broken addresses with long questions would fill the store for all."""
    question = replace(records.placing(key=None), request="x" * 10_000)
    records.post(question, pending_terms="{}")
    records.fail_intake(records.claim_pending())
    assert records.client.strlen(f"sl9:{question.job}:asked") == 10_000
    assert held(records) > 10_000


def test_receivers_that_are_down_do_not_fill_the_store(records: Records) -> None:
    """A call has no copy of the answer, and a caller is charged for its webhook with the job."""
    records.beat()
    submit(records, "q")
    records.settle(records.claim(), LONG)
    before = held(records)
    again = [submit(records, "q").id for _ in range(3)]
    assert 3 * 1000 < held(records) - before < 3 * 2500
    for _ in range(4):
        due = taken(records)
        assert len(str(due.notice.job and due.notice.job.result)) > 30_000
        records.tell(due)
    assert [records.purge(job) for job in again] == [[]] * 3
    assert held(records) == before
