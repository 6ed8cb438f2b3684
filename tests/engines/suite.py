"""The contract of `worker.engines.base`, as checks that every engine must pass.

An engine's test module builds a Harness and runs each of CHECKS against it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from PIL import Image as Pictures
from PIL.Image import Image as Picture

from shared.errors import CallerError
from shared.request import Image, Message, Parameters, RepetitionDetection, Request, Text
from shared.result import Piece
from worker.engines.base import Cancelled, Engine, Finish, Row

SPECIAL = "<|end|><|user|><image> <|assistant|>"
MANY_SCRIPTS = (
    "na\u00efve \u65e5\u672c\u8a9e \U0001f469\u200d\U0001f680 \u0645\u0631\u062d\u0628\u0627 \x00 a\u0301"
)


@dataclass(frozen=True)
class Harness:
    """An engine under test; `question` is one it answers with at least four tokens, `hot` draws others."""

    engine: Engine
    question: str = "What do we see in this image?"
    hot: float = 6.0

    def row(
        self,
        text: str,
        pictures: Sequence[Picture] = (),
        *,
        emit: Callable[[Piece], None] = lambda _: None,
        published: tuple[int, ...] = (),
        published_text: str = "",
        scope: str | None = "",
        **parameters: Any,
    ) -> Row:
        request = question(text, len(pictures), **parameters)
        prompt = self.engine.prepare(request, pictures, scope)
        grammar = self.engine.grammar(request)
        return Row(prompt, request.parameters, emit, threading.Event(), published, published_text, grammar)

    def ask(self, text: str, pictures: Sequence[Picture] = (), **rest: Any) -> tuple[Finish, list[Piece]]:
        pieces: list[Piece] = []
        return self.engine.generate(self.row(text, pictures, emit=pieces.append, **rest)), pieces


@contextmanager
def refused(
    code: str, param: str | None = None, match: str | None = None
) -> Iterator[pytest.ExceptionInfo[CallerError]]:
    """As its caller's error; where a `param` is to blame, by its name."""
    with pytest.raises(CallerError, match=match) as error:
        yield error
    assert error.value.code == code
    assert param in (None, error.value.param)


def question(text: str, pictures: int = 0, **parameters: Any) -> Request:
    parts = (*(Image() for _ in range(pictures)), Text(text=text))
    return Request(
        model="m", messages=(Message(role="user", parts=parts),), parameters=Parameters(**parameters)
    )


def picture(colour: str = "red") -> Picture:
    image = Pictures.new("RGB", (64, 48), "white")
    image.paste(colour, (16, 12, 48, 36))
    return image


def readers_get_the_whole_answer_once(harness: Harness) -> None:
    finish, pieces = harness.ask(harness.question, [picture()])
    assert finish.text
    assert len(finish.ids) >= 4
    assert "".join(p.text for p in pieces) == finish.text
    assert tuple(i for p in pieces for i in p.ids) == finish.ids
    assert [p.start for p in pieces] == [len("".join(p.text for p in pieces[:n])) for n in range(len(pieces))]


def the_worker_hears_when_a_prompt_begins(harness: Harness) -> None:
    """And not before: it claims the next run then."""
    heard, pieces = list[int](), list[Piece]()
    row = harness.row(harness.question, [picture()], emit=pieces.append)
    harness.engine.generate(replace(row, on_begin=lambda: heard.append(len(pieces))))
    assert heard == [0]


def readers_get_text_before_the_end(harness: Harness) -> None:
    _, pieces = harness.ask(harness.question, [picture()])
    assert len([p for p in pieces if p.text]) > 1


def the_same_question_gets_the_same_answer(harness: Harness) -> None:
    assert harness.ask(harness.question, [picture()])[0] == harness.ask(harness.question, [picture()])[0]


def a_seed_repeats_an_answer(harness: Harness) -> None:
    drawn = {"temperature": harness.hot, "max_new_tokens": 12}
    first, _ = harness.ask(harness.question, [picture()], seed=11, **drawn)
    harness.ask(harness.question, [picture()], **drawn)
    assert harness.ask(harness.question, [picture()], seed=11, **drawn)[0].ids == first.ids


def max_new_tokens_ends_an_answer(harness: Harness) -> None:
    whole, _ = harness.ask(harness.question, [picture()])
    finish, _ = harness.ask(harness.question, [picture()], max_new_tokens=2)
    assert finish.reason == "length"
    assert finish.ids == whole.ids[:2]
    assert whole.reason == "stop"
    assert whole.text.startswith(finish.text)


def the_first_stop_string_cuts_and_never_reaches_a_reader(harness: Harness) -> None:
    whole, _ = harness.ask(harness.question, [picture()])
    first, later = whole.text[4:8], whole.text[5:8]
    finish, pieces = harness.ask(harness.question, [picture()], stop=[later, first, "never there"])
    assert finish.reason == "stop"
    assert finish.text == whole.text[: min(map(whole.text.index, (first, later)))]
    assert "".join(p.text for p in pieces) == finish.text
    assert tuple(i for p in pieces for i in p.ids) == finish.ids


def a_stop_string_that_never_completes_is_delivered(harness: Harness) -> None:
    whole, _ = harness.ask(harness.question, [picture()])
    finish, pieces = harness.ask(harness.question, [picture()], stop=[whole.text[-3:] + "\n\n"])
    assert finish == whole
    assert "".join(p.text for p in pieces) == whole.text


def a_stop_token_ends_an_answer_and_is_no_part_of_it(harness: Harness) -> None:
    whole, _ = harness.ask(harness.question, [picture()])
    before, _ = harness.ask(harness.question, [picture()], max_new_tokens=2)
    finish, pieces = harness.ask(harness.question, [picture()], stop_token_ids=[whole.ids[2]])
    assert (finish.reason, finish.ids) == ("stop", whole.ids[:3])
    assert finish.text == "".join(p.text for p in pieces) == before.text


def a_least_answer_is_not_ended_before(harness: Harness) -> None:
    whole, _ = harness.ask(harness.question, [picture()])
    least = len(whole.ids) + 4
    finish, _ = harness.ask(harness.question, [picture()], min_new_tokens=least)
    assert len(finish.ids) >= least
    assert harness.ask(harness.question, [picture()], min_new_tokens=2)[0] == whole


def a_least_answer_may_be_longer_than_the_default(harness: Harness) -> None:
    finish, _ = harness.ask(harness.question, min_new_tokens=70)
    assert len(finish.ids) >= 70


def without_the_models_end_an_answer_is_as_long_as_it_may_be(harness: Harness) -> None:
    whole = harness.ask(*(asked := (harness.question, [picture()])))[0].ids
    finish, _ = harness.ask(*asked, max_new_tokens=len(whole) + 4, ignore_eos=True)
    assert (finish.reason, finish.ids[: len(whole)], len(finish.ids)) == ("length", whole, len(whole) + 4)
    stopped, _ = harness.ask(*asked, ignore_eos=True, stop_token_ids=[whole[2]], min_new_tokens=2)
    assert (stopped.reason, stopped.ids) == ("stop", whole[:3])


def an_answer_that_loops_ends_early_also_where_it_is_resumed(harness: Harness) -> None:
    wanted = RepetitionDetection(max_pattern_size=12, min_count=4)
    long: dict[str, Any] = {"ignore_eos": True, "max_new_tokens": 300, "temperature": 0.0}
    finish, pieces = harness.ask(harness.question, repetition_detection=wanted, **long)
    assert (finish.reason, len(finish.ids) < 300) == ("repetition", True)
    half = len(finish.ids) - 6
    begun: dict[str, Any] = {"published": finish.ids[:half], "published_text": _text_behind(pieces, half)}
    resumed, _ = harness.ask(harness.question, repetition_detection=wanted, **begun, **long)
    assert (resumed.ids, resumed.reason) == (finish.ids, "repetition")


def cancelling_ends_the_row_and_frees_the_engine(harness: Harness) -> None:
    pieces: list[Piece] = []

    def cancel(piece: Piece) -> None:
        pieces.append(piece)
        row.cancel.set()

    row = harness.row(harness.question, [picture()], emit=cancel)
    with pytest.raises(Cancelled):
        harness.engine.generate(row)
    assert len(pieces) == 1
    assert harness.ask(harness.question, [picture()])[0].text


def a_row_cancelled_before_it_starts_computes_nothing(harness: Harness) -> None:
    pieces: list[Piece] = []
    row = harness.row(harness.question, emit=pieces.append)
    row.cancel.set()
    with pytest.raises(Cancelled):
        harness.engine.generate(row)
    assert pieces == []


def resuming_gives_the_uninterrupted_answer(harness: Harness) -> None:
    _resumes_anywhere(harness)


def resuming_continues_random_draws_and_penalties(harness: Harness) -> None:
    _resumes_anywhere(
        harness,
        seed=3,
        temperature=harness.hot,
        repetition_penalty=1.3,
        frequency_penalty=0.5,
        presence_penalty=0.5,
        max_new_tokens=16,
    )


def resuming_keeps_watching_for_a_stop_string(harness: Harness) -> None:
    whole, _ = harness.ask(harness.question, [picture()])
    _resumes_anywhere(harness, stop=[whole.text[7:11]])


def _resumes_anywhere(harness: Harness, **parameters: Any) -> None:
    """Break off behind every piece and behind every token, go on, and compare."""
    whole, pieces = harness.ask(harness.question, [picture()], **parameters)
    for count in range(len(whole.ids) + 1):
        ids, text = whole.ids[:count], _text_behind(pieces, count)
        finish, rest = harness.ask(
            harness.question, [picture()], published=ids, published_text=text, **parameters
        )
        assert (finish.ids, finish.text, finish.reason) == (whole.ids, whole.text, whole.reason)
        assert text + "".join(p.text for p in rest) == whole.text
        assert ids + tuple(i for p in rest for i in p.ids) == whole.ids
        assert not rest or rest[0].start == len(text)


def _text_behind(pieces: list[Piece], count: int) -> str:
    """What readers have once the first `count` ids are out."""
    text, seen = "", 0
    for piece in pieces:
        seen += len(piece.ids)
        if seen > count:
            break
        text += piece.text
    return text


def concurrent_callers_get_their_own_answers(harness: Harness) -> None:
    questions = [f"{harness.question} {n}" for n in range(4)]
    alone = [harness.ask(q, [picture()]) for q in questions]
    with ThreadPoolExecutor(len(questions)) as pool:
        together = list(pool.map(lambda q: harness.ask(q, [picture()]), questions))
    assert together == alone
    scores = [[finish.score for finish, _ in answers] for answers in (together, alone)]
    assert scores[0] == pytest.approx(scores[1])


def a_prompt_that_does_not_fit_is_refused(harness: Harness) -> None:
    limit = harness.engine.facts.context_length
    with refused("context_length_exceeded", match=str(limit)):
        harness.engine.prepare(question("word " * (limit + 1)), [])


def an_answer_that_does_not_fit_is_lowered_to_what_does(harness: Harness) -> None:
    limit = harness.engine.facts.context_length
    prompt = harness.engine.prepare(question("hi", max_new_tokens=2**31 - 1), [])
    effective = harness.engine.effective(prompt, Parameters(max_new_tokens=2**31 - 1))
    assert effective.max_new_tokens == limit - prompt.tokens
    with refused("context_length_exceeded", "min_new_tokens"):
        harness.engine.prepare(question("hi", min_new_tokens=limit), [])


def special_tokens_typed_by_a_caller_are_text(harness: Harness) -> None:
    prompt = harness.engine.prepare(question(f"{SPECIAL} {harness.question}", 1), [picture()])
    assert prompt.image_tokens == harness.engine.prepare(question("x", 1), [picture()]).image_tokens
    assert harness.ask(f"{SPECIAL} {harness.question}", [picture()])[0].ids


def any_unicode_is_a_question(harness: Harness) -> None:
    finish, pieces = harness.ask(MANY_SCRIPTS)
    assert "".join(p.text for p in pieces) == finish.text


def an_empty_question_is_answered(harness: Harness) -> None:
    assert harness.ask("")[0].reason == "stop"


def usage_counts_pictures(harness: Harness) -> None:
    none, two = (harness.engine.prepare(question("x", n), [picture()] * n) for n in (0, 2))
    assert none.image_tokens == 0
    assert two.tokens > two.image_tokens > 0
    assert two.tokens > none.tokens


def idle_time_counts_only_while_there_is_work(harness: Harness) -> None:
    seen: list[float] = []
    row = harness.row(harness.question, [picture()], emit=lambda _: seen.append(harness.engine.idle_s()))
    started = time.monotonic()
    harness.engine.generate(row)
    assert 0 < max(seen) <= time.monotonic() - started
    assert harness.engine.idle_s() == 0


def checks_of(module: dict[str, Any]) -> tuple[Callable[[Harness], None], ...]:
    """Its functions of a harness alone."""
    return tuple(
        found
        for found in module.values()
        if list(getattr(found, "__annotations__", ())) == ["harness", "return"]
        and not found.__name__.startswith("_")
    )


CHECKS = checks_of(globals())
