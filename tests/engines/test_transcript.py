import threading
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

import pytest

from shared.request import Parameters, RepetitionDetection
from shared.result import Piece
from worker.engines.base import Finish, Prompt, Row
from worker.engines.sampling.detokenizer import WINDOW, Detokenizer, Likelihood, Transcript, behind_blanks


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
