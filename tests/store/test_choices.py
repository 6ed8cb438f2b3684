"""Several answers of one run: each is a text of its own, whatever becomes of the others."""

from shared.result import Candidate, Logprobs, Piece, TokenLogprob, logprobs_of
from shared.store import jobs
from shared.store.admission import cached
from shared.store.claims import Claim, append, settle
from tests.support.existing import existing
from tests.support.store import LANE, OTHER_PRINT, PRINT, Records, answer

LIKELIHOODS: Logprobs = (TokenLogprob(0, Candidate('"b",\n', -0.12345678901234567), ()),)


def say(records: Records, claim: Claim, choice: int, start: int, text: str, *ids: int) -> str:
    return records.run(append(claim, Piece(start, text, ids, choice=choice)))


def texts(records: Records, job: str) -> list[tuple[int, int, str]]:
    told = [e.data for e in records.events(job) if e.type == "text"]
    return [(data["choice"], data["start"], data["text"]) for data in told]


def test_each_answer_has_its_own_beginning_and_goes_on_behind_its_own_end(records: Records) -> None:
    job, claim = records.started()
    assert say(records, claim, 1, 0, "A blue ", 1) == "ok"
    assert say(records, claim, 0, 0, "A ", 2) == "ok"
    assert say(records, claim, 1, 7, "disc", 3) == "ok"
    assert say(records, claim, 0, 7, "disc", 3) == "lost", "it is the other one that has so much"
    assert texts(records, job) == [(1, 0, "A blue "), (0, 0, "A "), (1, 7, "disc")]


def test_a_repeated_piece_of_another_answer_is_published_once(records: Records) -> None:
    job, claim = records.started()
    say(records, claim, 0, 0, "one ", 1)
    assert [say(records, claim, 1, 0, "two ", 2) for _ in range(2)] == ["ok"] * 2
    assert texts(records, job) == [(0, 0, "one "), (1, 0, "two ")]


def test_who_has_read_one_answer_is_given_no_second_beginning_of_it(records: Records) -> None:
    """Another answer begins behind what was read, and the model changes."""
    job, claim = records.started()
    say(records, claim, 0, 0, "eins", 1)
    assert texts(records, job) == [(0, 0, "eins")]
    say(records, claim, 1, 0, "drei", 3)
    records.lose_worker()
    assert records.claim(fingerprint=OTHER_PRINT).mixed
    assert texts(records, job) == [(0, 0, "eins"), (1, 0, "drei")]


def test_what_is_left_of_every_answer_is_told_before_the_end(records: Records) -> None:
    job, claim = records.started()
    say(records, claim, 0, 0, "one", 1)
    rest = [Piece(3, " two", (2,), choice=0), Piece(0, "three", (3,), choice=1)]
    call = settle(records.settings, claim, answer(), fingerprint=PRINT, rest=rest)
    assert records.run(call) == "settled"
    assert texts(records, job) == [(0, 0, "one"), (0, 3, " two"), (1, 0, "three")]
    assert records.story(job)[-1] == "succeeded"


def test_a_cached_answer_is_streamed_as_it_was_written(records: Records) -> None:
    """Published pieces and the last ones alike; a likelihood loses no digit."""
    records.beat()
    _, claim = records.started("q")
    say(records, claim, 1, 0, 'b ","choice":0', 1)
    records.run(append(claim, Piece(14, "b", (2,), LIKELIHOODS, choice=1)))
    rest = [Piece(0, "one", (3,), LIKELIHOODS, choice=0), Piece(3, " two", (4,), choice=0)]
    records.run(settle(records.settings, claim, answer(), fingerprint=PRINT, rest=rest))
    hit = existing(records.run(cached(records.placing("q"), records.settings, texts=True)))
    assert [(d["choice"], d["start"], d["text"], d["ids"], logprobs_of(d)) for d in hit.texts] == [
        (1, 0, 'b ","choice":0', [1], None),
        (1, 14, "b", [2], LIKELIHOODS),
        (0, 0, "one", [3], LIKELIHOODS),
        (0, 3, " two", [4], None),
    ]


def test_an_answer_takes_up_as_many_rows_as_were_asked_for(records: Records) -> None:
    """Who waits in line is told so: four answers side by side leave room for four fewer others."""
    _, claim = records.started()
    result = answer().model_copy(update={"compute_s": 2.0})
    records.run(settle(records.settings, claim, result, fingerprint=PRINT, work_s=8.0))
    assert records.run(jobs.lane(records.settings, LANE)).service_ms == 8000


def test_a_beginning_of_one_answer_nobody_has_read_is_told_by_the_next_model_alone(records: Records) -> None:
    job = records.submit().id
    say(records, records.claim(), 1, 0, "old", 1)
    records.lose_worker()
    second = records.claim(fingerprint=OTHER_PRINT)
    assert not second.mixed
    assert say(records, second, 1, 0, "new", 2) == "ok"
    assert texts(records, job) == [(1, 0, "new")]
