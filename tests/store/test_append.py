"""Append: a stream is one text, whatever is repeated or lost on the way."""

from tests.support.store import Records


def texts(records: Records, job: str) -> str:
    return "".join(e.data["text"] for e in records.events(job) if e.type == "text")


def test_a_piece_that_does_not_follow_on_is_refused_not_spliced(records: Records) -> None:
    job, claim = records.started()
    records.append(claim, 0, "one ")
    assert records.append(claim, 8, "three") == "lost"
    assert records.append(claim, 2, "e two") == "lost"
    assert texts(records, job) == "one "
