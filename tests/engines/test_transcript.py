import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest

from shared.request import Parameters
from worker.engines.base import Finish, Piece, Prompt, Row
from worker.engines.detokenizer import Detokenizer
from worker.engines.transcript import Transcript

MIXED = "caf\u00e9 \u65e5\u672c \U0001f600! " * 30


def from_bytes(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


def cleaned(ids: Sequence[int]) -> str:
    return from_bytes(ids).replace(" n't", "n't").replace(" .", ".")


def write(text: str, stop: Sequence[str] = (), **row: object) -> tuple[Finish, list[Piece]]:
    pieces: list[Piece] = []
    prompt = Prompt(tokens=0, image_tokens=0, inputs=None)
    parameters = Parameters(stop=tuple(stop))
    transcript = Transcript(
        Row(prompt, parameters, pieces.append, threading.Event(), **row),  # type: ignore[arg-type]
        from_bytes,
    )
    for token in text.encode():
        if transcript.add(token):
            break
    return transcript.finish("length"), pieces


def test_a_character_of_several_tokens_arrives_whole() -> None:
    finish, pieces = write(MIXED)
    assert finish.text == MIXED
    assert "".join(p.text for p in pieces) == MIXED
    assert not any("\ufffd" in p.text for p in pieces)
    assert all(bytes(p.ids).decode() == p.text for p in pieces)


def test_a_character_cut_off_by_the_budget_ends_the_text_as_one_decode_would() -> None:
    detokenizer = Detokenizer(from_bytes)
    ids = "ab\U0001f600".encode()[:-1]
    for token in ids:
        detokenizer.push(token)
    assert detokenizer.settled == "ab"
    assert detokenizer.finish() == from_bytes(ids)


def test_text_that_a_decoder_takes_back_stays_with_its_readers() -> None:
    def fallback(ids: Sequence[int]) -> str:
        try:
            return bytes(ids).decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(ids)

    detokenizer = Detokenizer(fallback)
    seen = [detokenizer.push(token) for token in "\u20ac\u20ac".encode()]
    assert seen == ["", "", "\u20ac", "\u20ac", "\u20ac", "\u20ac\u20ac"]


def test_spaces_that_are_cleaned_up_later_are_held_back() -> None:
    text = "it is n't so . " * 20
    detokenizer = Detokenizer(cleaned, unsettled=4)
    seen = [detokenizer.push(token) for token in text.encode()]
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
    assert detokenizer.finish() == cleaned(text.encode())


def test_a_long_answer_costs_no_more_per_token() -> None:
    longest = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return from_bytes(ids)

    detokenizer = Detokenizer(decode)
    for token in MIXED.encode() * 5:
        detokenizer.push(token)
    assert detokenizer.finish() == MIXED * 5
    assert longest < 100


@pytest.mark.parametrize(
    ("stop", "rest"),
    [(["END"], "one E two EN "), (["two", "one E"], ""), (["E two", "EN"], "one "), (["absent"], None)],
)
def test_the_first_stop_string_cuts_and_its_beginnings_are_delivered(
    stop: list[str], rest: str | None
) -> None:
    text = "one E two EN END three"
    finish, pieces = write(text, stop)
    assert finish.text == (text if rest is None else rest)
    assert finish.reason == ("length" if rest is None else "stop")
    assert "".join(p.text for p in pieces) == finish.text


def test_a_resumed_row_emits_only_what_readers_do_not_have() -> None:
    finish, pieces = write("abcdef", published=tuple(b"abc"), published_text="abc")
    assert [(p.start, p.text, bytes(p.ids)) for p in pieces] == [
        (3, "d", b"d"),
        (4, "e", b"e"),
        (5, "f", b"f"),
    ]
    assert finish.text == "abcdef"


def test_a_resumed_row_delivers_text_that_was_held_back() -> None:
    finish, pieces = write("abEcd", ["END"], published=tuple(b"abE"), published_text="ab")
    assert (pieces[0].start, pieces[0].text) == (2, "Ec")
    assert finish.text == "abEcd"
