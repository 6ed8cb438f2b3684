"""Append: a stream is one text, whatever is repeated or lost on the way."""

from tests.support.store import Records


def texts(records: Records, job: str) -> str:
    return "".join(e.data["text"] for e in records.events(job) if e.type == "text")


def test_pieces_become_events_with_their_place_and_token_ids(records: Records) -> None:
    job, claim = records.started()
    assert records.append(claim, 0, "A red ", (5, 6)) == "ok"
    records.wait(1)
    assert records.append(claim, 6, "square", (7,)) == "ok"
    pieces = [e for e in records.events(job) if e.type == "text"]
    assert [e.data for e in pieces] == [
        {"start": 0, "text": "A red ", "ids": [5, 6]},
        {"start": 6, "text": "square", "ids": [7]},
    ]
    assert pieces[1].at_ms == records.now
    assert [e.id for e in records.events(job)] == [1, 2, 3, 4]


def test_a_piece_that_does_not_follow_on_is_refused_not_spliced(records: Records) -> None:
    job, claim = records.started()
    records.append(claim, 0, "one ")
    assert records.append(claim, 8, "three") == "lost"
    assert records.append(claim, 2, "e two") == "lost"
    assert texts(records, job) == "one "
