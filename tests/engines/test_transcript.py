import threading
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

import pytest

from shared.request import Parameters, RepetitionDetection
from shared.result import Candidate, Piece, TokenLogprob
from worker.engines.base import Finish, Prompt, Row
from worker.engines.sampling.detokenizer import WINDOW, Detokenizer, Likelihood, Transcript, behind_blanks

MIXED = "caf\u00e9 \u65e5\u672c \U0001f600! " * 30


def from_bytes(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


def cleaned(ids: Sequence[int]) -> str:
    return from_bytes(ids).replace(" n't", "n't").replace(" .", ".")


def name(token: int) -> tuple[str, bytes]:
    octets = bytes([token])
    return octets.decode(errors="backslashreplace"), octets


def write(
    text: str | bytes,
    stop: Sequence[str] = (),
    parameters: Parameters | None = None,
    ends: Sequence[int] = (),
    **row: object,
) -> tuple[Finish, list[Piece]]:
    pieces: list[Piece] = []
    prompt = Prompt(tokens=0, image_tokens=0, inputs=None)
    given = parameters or Parameters(stop=tuple(stop))
    transcript = Transcript(
        Row(prompt, given, pieces.append, threading.Event(), **row),  # type: ignore[arg-type]
        from_bytes,
        name,
        ends=ends,
    )
    for token in text.encode() if isinstance(text, str) else text:
        if transcript.add(token, Likelihood(-0.5, ((token, -0.5), (33, -1.0))[: given.logprobs])):
            break
    return transcript.finish("length"), pieces


def test_a_character_of_several_tokens_arrives_whole() -> None:
    finish, pieces = write(MIXED)
    assert finish.text == MIXED
    assert "".join(p.text for p in pieces) == MIXED
    assert not any("\ufffd" in p.text for p in pieces)
    assert all(bytes(p.ids).decode() == p.text for p in pieces)


def test_a_character_cut_off_by_the_budget_is_left_out_and_its_tokens_are_counted_and_told() -> None:
    ids = "ab\U0001f600".encode()[:-1]
    finish, pieces = write(ids, parameters=Parameters(logprobs=0))
    assert (finish.text, finish.ids, finish.reason) == ("ab", tuple(ids), "length")
    assert "".join(piece.text for piece in pieces) == "ab"
    assert finish.logprobs is not None
    assert (
        b"".join(bytes(token.chosen.bytes or token.chosen.token.encode()) for token in finish.logprobs) == ids
    )


@pytest.mark.parametrize(
    ("text", "wanted", "end"),
    [
        ("it is, it is, it is, it", (5, 1, 3), None),
        ("it is, it is, it is, it", (7, 1, 3), "it is, it is, it is, "),
        ("aaaaaa", (5, 2, 3), "aaaaaa"),
        ("aaaaaa", (5, 0, 2), "aa"),
        ("it is", (0, 0, 0), None),
    ],
)
def test_an_answer_ends_where_it_has_repeated_itself(
    text: str, wanted: tuple[int, int, int], end: str | None
) -> None:
    names = ("max_pattern_size", "min_pattern_size", "min_count")
    parameters = Parameters(repetition_detection=RepetitionDetection(**dict(zip(names, wanted, strict=True))))
    finish, _ = write(text, parameters=parameters)
    assert (finish.text, finish.reason) == ((end, "repetition") if end else (text, "length"))
    least = parameters.model_copy(update={"min_new_tokens": len(text) + 1})
    assert write(text, parameters=least)[0].reason == "length"


def test_behind_a_character_that_came_undone_text_and_stop_strings_go_on() -> None:
    detokenizer = Detokenizer(fallback)
    written = b"\xe2\x82\xac\xff" + b" word" * 30
    seen = [detokenizer.push(token) for token in written]
    assert seen[3:6] == ["\u20ac", "\u20ac\ufffd\ufffd\ufffd ", "\u20ac\ufffd\ufffd\ufffd w"]
    assert seen[-1] == detokenizer.finish() == "\u20ac\ufffd\ufffd\ufffd" + " word" * 30


def test_a_long_run_of_bytes_loses_no_character_and_takes_back_no_text() -> None:
    """Cut within a character, the rest of the run is undone just as the whole is while a byte is missing."""
    text, detokenizer = "\u20ac" * WINDOW, Detokenizer(fallback)
    seen = [detokenizer.push(token) for token in text.encode()]
    assert seen[:6] == ["", "", "\u20ac", "\u20ac", "\u20ac", "\u20ac\u20ac"]
    assert seen[-1] == text


def fallback(ids: Sequence[int]) -> str:
    """In decoders like SentencePiece's a byte that fits nowhere undoes the whole run of bytes around it."""
    runs = groupby(ids, key=lambda id_: id_ >= 128)
    return "".join(_undone(run) if high else bytes(run).decode() for high, run in runs)


def _undone(run: Iterable[int]) -> str:
    data = bytes(run)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "\ufffd" * len(data)


def test_spaces_that_are_cleaned_up_later_are_held_back() -> None:
    text = "it is n't so . " * 20
    detokenizer = Detokenizer(cleaned, unsettled=4)
    seen = [detokenizer.push(token) for token in text.encode()]
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
    assert detokenizer.finish() == cleaned(text.encode())


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


def test_a_resumed_row_delivers_text_that_was_held_back() -> None:
    finish, pieces = write("abEcd", ["END"], published=tuple(b"abE"), published_text="ab")
    assert (pieces[0].start, pieces[0].text) == (2, "Ec")
    assert finish.text == "abEcd"


def test_logprobs_travel_with_the_text_that_their_tokens_make() -> None:
    finish, pieces = write("a\u00e9!", parameters=Parameters(logprobs=1))
    assert [(p.text, [t.start for t in p.logprobs or ()]) for p in pieces] == [
        ("a", [0]),
        ("\u00e9", [1, 1]),
        ("!", [2]),
    ]
    assert finish.logprobs == tuple(told for p in pieces for told in p.logprobs or ())
    first, *_ = finish.logprobs
    assert first == TokenLogprob(0, Candidate("a", -0.5), (Candidate("a", -0.5),))
    assert finish.logprobs[1].chosen == Candidate("\\xc3", -0.5, (0xC3,))


@pytest.mark.parametrize(
    ("stops", "ends"), [([33], []), ([], [33]), ([7], [33])], ids=["asked", "own", "both"]
)
def test_the_token_that_ends_an_answer_is_no_text_of_it_though_it_has_some(
    stops: list[int], ends: list[int]
) -> None:
    finish, pieces = write("ab!c", parameters=Parameters(stop_token_ids=tuple(stops), logprobs=0), ends=ends)
    assert (finish.text, finish.reason, bytes(finish.ids)) == ("ab", "stop", b"ab!")
    assert [t.chosen.token for t in finish.logprobs or ()] == ["a", "b"]
    assert ("".join(p.text for p in pieces), bytes(pieces[-1].ids)) == ("ab", b"!")


def test_an_answer_that_goes_on_tells_the_logprobs_that_were_held_back_and_no_other_again() -> None:
    given = Parameters(stop=("bcd",), logprobs=0)
    whole, pieces = write("abcx", parameters=given)
    assert [[t.start for t in p.logprobs or ()] for p in pieces] == [[0], [1, 2, 3]]
    rest, more = write("abcx", parameters=given, published=tuple(b"ab"), published_text="a")
    assert rest.logprobs == whole.logprobs
    assert [[t.start for t in p.logprobs or ()] for p in more] == [[1, 2, 3]]


@pytest.mark.parametrize(("blanks", "left"), [("  ", 2), ("\n", 0), (" \n", 1), (" " * 99, 40)])
def test_a_long_answer_loses_no_blank_but_those_that_stand_before_it(blanks: str, left: int) -> None:
    said = " " * 40 + "a  b " * 30
    detokenizer = Detokenizer(behind_blanks(from_bytes, blanks))
    read = [detokenizer.push(token) for token in said.encode()]
    assert detokenizer.finish() == said[left:]
    assert all(said[left:].startswith(text) for text in read)


def test_a_long_run_of_tokens_without_text_is_not_decoded_again_at_each() -> None:
    """As many models repeat their end where `ignore_eos` is sent."""
    longest, hidden = 0, {0}

    def decode(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids))
        return bytes(id_ for id_ in ids if id_ not in hidden).decode()

    detokenizer = Detokenizer(decode, hidden=hidden)
    for token in b"ab" + bytes(1000) + b"c":
        detokenizer.push(token)
    assert detokenizer.finish() == "abc"
    assert longest <= WINDOW + 1
