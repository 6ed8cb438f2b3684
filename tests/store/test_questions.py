"""The beginning of a question and of its answer: what a list shows, and is searched by."""

from dataclasses import replace
from typing import Any

import pytest

from shared.job import JobView, Question
from shared.result import Candidate, Choice, TokenLogprob
from shared.store import jobs
from tests.support.existing import existing
from tests.support.store import BROKEN, SETTINGS, Records, answer


def ask(records: Records, question: str = "What is this?", *, hashed: str = "", **terms: Any) -> str:
    records.wait(1)
    placing = replace(records.placing(hashed), question=question, pictures=2)
    view = records.accept(placing, **terms)
    return view.id


def searched(records: Records, search: str, caller: str = "anyone") -> list[str]:
    page = records.listed(limit=100, caller=caller, search=search)
    return [view.id for view in page.views]


def beginning(records: Records, text: str) -> str | None:
    records.answered(outcome=answer(text))
    view = listed(records)
    assert view.result is None
    return view.answer


def pages(records: Records) -> list[JobView]:
    """All jobs, newest first, without their results."""
    page = existing(records.run(jobs.jobs(records.settings, "anyone", after=None, limit=10, results=False)))
    return list(page.views)


def listed(records: Records) -> JobView:
    """The newest job, without its result."""
    page = existing(records.run(jobs.jobs(records.settings, "anyone", after=None, limit=1, results=False)))
    return page.views[0]


def test_a_job_shows_its_question_as_long_as_that_is_kept(records: Records) -> None:
    first, joined = ask(records, hashed="same"), ask(records, hashed="same")
    run = records.claim()
    records.settle(run)
    for job in (first, joined):
        assert records.view(job).question == Question("What is this?", 2)
    records.wait(SETTINGS.retention.result_s)
    assert records.view(first).question is None


def test_nothing_of_a_question_is_kept_that_is_not_to_be_stored(records: Records) -> None:
    job = ask(records, stored=False)
    assert records.view(job).question is None
    assert "What is this" not in str(records.dump())


def test_a_question_is_shown_while_its_pictures_are_fetched(records: Records) -> None:
    job = ask(records, pending_terms="{}")
    assert records.view(job).question == Question("What is this?", 2)
    assert searched(records, "what is") == [job]
    claim = records.claim_pending()
    records.admit_placing(claim, replace(records.placing(job=job), question="What is this?", pictures=2))
    assert records.view(job).question == Question("What is this?", 2)


def test_a_question_whose_pictures_were_not_there_is_shown_and_found(records: Records) -> None:
    job = ask(records, pending_terms="{}")
    records.fail_intake(records.claim_pending(), BROKEN)
    assert records.view(job).question == Question("What is this?", 2)
    assert searched(records, "what is") == [job]


def test_nothing_of_a_question_stays_that_is_not_to_be_stored_and_had_no_pictures(records: Records) -> None:
    job = ask(records, stored=False, pending_terms="{}")
    records.fail_intake(records.claim_pending(), BROKEN)
    assert records.view(job).question is None
    assert "What is this" not in str(records.dump())


@pytest.mark.parametrize(
    ("question", "search"),
    [
        ("Where is the Red Square?", "red square"),
        ("Ist das ein Ärmel?", "ÄRMEL"),
        ("Ist das ein Ärmel?", "ärmel"),
        ('Is it "red"/blue\\green?', '"red"/blue'),
        ("Is it red?\x01", "red?"),
        ("100% [a-z]+", "% [A-Z]+"),
    ],
)
def test_jobs_are_found_by_words_of_their_question(records: Records, question: str, search: str) -> None:
    job = ask(records, question)
    ask(records, "Something else")
    assert searched(records, search) == [job]
    assert searched(records, search, caller="somebody") == []


def test_jobs_are_found_by_the_beginning_of_their_id(records: Records) -> None:
    job = ask(records)
    ask(records)
    assert searched(records, job) == searched(records, job.removeprefix("job_")) == [job]
    assert searched(records, job[5:]) == [], "not by what stands within"


def test_a_search_sees_no_other_field_of_a_record(records: Records) -> None:
    ask(records, metadata={"question": "colour"})
    assert (
        searched(records, "colour") == searched(records, '","metadata') == searched(records, "normal") == []
    )


@pytest.mark.parametrize(
    "text", ["", "Red.", 'A "red"\n square \\', "ä" * 199 + "b", "é" * 5000, "🟥" * 5000]
)
def test_a_list_without_results_shows_where_each_answer_begins(records: Records, text: str) -> None:
    assert beginning(records, text) == text[:200]


def test_a_list_shows_how_the_answer_of_a_stopped_job_began(records: Records) -> None:
    job = records.submit("q")
    other, claim = records.started("q")
    records.append(claim, 0, "A red ")
    records.cancel(job.id)
    records.append(claim, 6, "square")
    assert [view.answer for view in pages(records)] == [None, "A red "]
    records.cancel(other)
    assert [view.answer for view in pages(records)] == ["A red square", "A red "]


def test_a_job_stopped_before_its_first_text_has_no_beginning(records: Records) -> None:
    records.cancel(records.submit("q").id)
    assert listed(records).answer is None


def test_an_answer_with_its_logprobs_is_not_read_for_its_beginning(records: Records) -> None:
    logprobs = (TokenLogprob(0, Candidate("Red.", -1), ()),)
    long = answer("Red.").model_copy(
        update={"choices": (Choice(text="Red.", finish_reason="stop", logprobs=logprobs),)}
    )
    job = records.answered(outcome=long)
    records.client.hset(f"sl9:{job.run_id}", "result", "unread")
    assert listed(records).answer == "Red."


def test_no_call_counts_more_jobs_than_a_page_looks_at(records: Records) -> None:
    for _ in range(jobs.LOOK + 1):
        records.submit()
    some, after = records.run(jobs.statuses("anyone"))
    rest, end = records.run(jobs.statuses("anyone", after=after))
    assert (len(some), len(rest), end) == (jobs.LOOK, 1, None)
    assert {*some.values(), *rest.values()} == {"queued"}
    assert not some.keys() & rest.keys()


def test_a_word_that_every_id_begins_with_finds_the_jobs_that_ask_about_it(records: Records) -> None:
    wanted = ask(records, question="What is a job?")
    ask(records, question="What is red?")
    assert searched(records, "job") == [wanted]
    assert searched(records, wanted[:12]) == [
        job for job in searched(records, "what") if job[:12] == wanted[:12]
    ]
