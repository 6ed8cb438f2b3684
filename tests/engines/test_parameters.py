"""What a caller's parameters do to the shipped model's answers."""

import threading
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from tokenizers import decoders

from shared.request import Format, Message, Parameters, Request, Text
from shared.result import Piece
from tests.engines import suite
from tests.engines.test_sequential import tiny
from tests.support.device import DEVICE
from worker.engines.base import Finish, Row
from worker.engines.registry import create

GONE_ON_WITH = (
    Message(role="user", parts=(Text(text="What is it?"),)),
    Message(role="assistant", parts=(Text(text="Look at"),)),
)


@pytest.fixture(scope="module")
def harness() -> suite.Harness:
    return suite.Harness(create(tiny()).load())


@pytest.mark.parametrize(("name", "value"), [("logit_bias", [[1024, 1.0]]), ("stop_token_ids", [7, 2000])])
def test_a_token_that_the_model_does_not_know_is_refused_by_name(
    harness: suite.Harness, name: str, value: Any
) -> None:
    with suite.refused("invalid_request", name, match="0 to 1023"):
        harness.engine.prepare(suite.question("Hello", **{name: value}), ())


def test_a_banned_token_is_never_chosen_and_a_wanted_one_always(harness: suite.Harness) -> None:
    whole, _ = harness.ask(harness.question, [suite.picture()])
    banned = whole.ids[0]
    hot: dict[str, Any] = {"temperature": 100.0, "top_k": 0, "max_new_tokens": 60, "min_new_tokens": 60}
    assert banned not in harness.ask(harness.question, [suite.picture()], logit_bias=[[banned, -100]])[0].ids
    for seed in range(3):
        finish, _ = harness.ask("Hello", seed=seed, logit_bias=[[id_, -100] for id_ in range(9, 309)], **hot)
        assert all(id_ < 9 or id_ >= 309 for id_ in finish.ids)
    only, _ = harness.ask(harness.question, max_new_tokens=5, logit_bias=[[banned, 100]])
    assert only.ids == (banned,) * 5


def test_an_answer_that_would_go_round_in_circles_does_not(harness: suite.Harness) -> None:
    circling: dict[str, Any] = {"max_new_tokens": 60, "min_new_tokens": 60}
    circling["logit_bias"] = [[50, 30], [51, 30]]
    assert len({*pairwise(harness.ask("Hello", **circling)[0].ids)}) < 30
    drawn: dict[str, Any] = {"temperature": 1.0, "seed": 5}
    for dice in ({}, drawn):
        ids = harness.ask("Hello", no_repeat_ngram_size=2, **circling, **dice)[0].ids
        assert len({*pairwise(ids)}) == len(ids) - 1 == 59


def test_improbable_tokens_are_not_drawn_above_their_min_p(harness: suite.Harness) -> None:
    greedy, _ = harness.ask("Hello", max_new_tokens=12)
    hot: dict[str, Any] = {"temperature": 8.0, "top_k": 0, "seed": 5, "max_new_tokens": 12}
    assert harness.ask("Hello", min_p=1.0, **hot)[0].ids == greedy.ids
    assert harness.ask("Hello", top_p=0.0, **hot)[0].ids == greedy.ids
    assert harness.ask("Hello", min_p=0.0, **hot)[0].ids == harness.ask("Hello", **hot)[0].ids != greedy.ids


def test_tokens_are_drawn_from_the_typical_ones_alone(harness: suite.Harness) -> None:
    hot: dict[str, Any] = {"temperature": 8.0, "top_k": 0, "max_new_tokens": 12}
    drawn = [harness.ask("Hello", seed=seed, typical_p=1e-6, **hot)[0].ids for seed in (5, 6)]
    # One token is left, and it is not the likeliest: the model is surprised about as much as it expects.
    assert drawn[0] == drawn[1] != harness.ask("Hello", max_new_tokens=12)[0].ids
    hot["seed"] = 5
    assert harness.ask("Hello", typical_p=1.0, **hot)[0].ids == harness.ask("Hello", **hot)[0].ids


@pytest.mark.parametrize(
    ("asked", "space"),
    [
        (suite.question("Hello"), ""),
        (suite.question("").model_copy(update={"messages": GONE_ON_WITH, "continue_final": True}), " "),
    ],
    ids=["a question", "an answer begun"],
)
def test_the_space_behind_a_text_that_is_gone_on_with_is_not_lost(asked: Request, space: str) -> None:
    """Many tokenizers' decoders drop the one before the first word."""
    engine: Any = create(tiny()).load()
    tokenizer = engine._loaded.tokenizer
    tokenizer.backend_tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    [word] = tokenizer(" the", add_special_tokens=False)["input_ids"]
    given = Parameters(max_new_tokens=2, logit_bias=((word, 100),), logprobs=0)
    finish = engine.generate(Row(engine.prepare(asked, ()), given, lambda _: None, threading.Event()))
    assert finish.text == f"{space}the the"
    assert [told.start for told in finish.logprobs] == [0, len(space) + 3]


def gone_on_with(harness: suite.Harness, text: str, read: Finish | None = None, **parameters: Any) -> Finish:
    """`read` is what an earlier run told readers of the same answer."""
    turns = (GONE_ON_WITH[0], Message(role="assistant", parts=(Text(text=text),)))
    given = Parameters(max_new_tokens=6, **parameters)
    asked = Request(model="m", messages=turns, continue_final=True, parameters=given)
    told = {} if read is None else {"published": read.ids, "published_text": read.text}
    pieces: list[Piece] = []
    prompt, form = harness.engine.prepare(asked, ()), harness.engine.grammar(asked)
    row = Row(prompt, given, pieces.append, threading.Event(), **told, grammar=form)  # type: ignore[arg-type]
    finish = harness.engine.generate(row)
    assert "".join(piece.text for piece in pieces) == finish.text[len(read.text if read else "") :]
    return finish


@pytest.mark.parametrize(("end", "left"), [(" ", ""), ("\n", " "), (" \n", ""), ("", " ")])
def test_a_text_that_ends_in_blanks_does_not_get_them_twice(
    harness: suite.Harness, end: str, left: str
) -> None:
    """The shipped model's template trims them, so the model begins with a blank of its own."""
    bare = gone_on_with(harness, "I only")
    finish = gone_on_with(harness, "I only" + end)
    assert bare.text.startswith(" know")
    assert (finish.ids, finish.text) == (bare.ids, left + bare.text[1:])
    begun = replace(finish, ids=finish.ids[:2], text=finish.text[:1])
    assert gone_on_with(harness, "I only" + end, begun).text == finish.text


def test_a_form_has_its_own_blanks_behind_a_text_that_ends_in_one(harness: suite.Harness) -> None:
    form = Format(kind="regex", content=" [a-z]{3}")
    assert len(gone_on_with(harness, "I only ", format=form).text) == 4


def test_a_stop_token_waits_for_the_least_answer(harness: suite.Harness) -> None:
    whole, _ = harness.ask(harness.question, [suite.picture()])
    asked: dict[str, Any] = {"stop_token_ids": [whole.ids[2]], "min_new_tokens": 6}
    finish, _ = harness.ask(harness.question, [suite.picture()], **asked)
    assert len(finish.ids) >= 6
    assert whole.ids[2] not in finish.ids[:6]


def test_logprobs_are_the_models_own_whatever_bends_the_draw(harness: suite.Harness) -> None:
    """By one forward pass of transformers over the whole answer."""
    bent: dict[str, Any] = {"temperature": 5.0, "top_k": 7}
    bent |= {"repetition_penalty": 1.5, "presence_penalty": 1.0}
    bent |= {"seed": 1, "max_new_tokens": 8, "min_new_tokens": 8}
    finish, _ = harness.ask("Hello", logprobs=3, logit_bias=[[74, 9.0]], **bent)
    prompt = harness.engine.prepare(suite.question("Hello"), ()).inputs
    ids = torch.cat([prompt["input_ids"], torch.tensor([finish.ids])], dim=1)
    engine: Any = harness.engine
    with torch.inference_mode():
        logits = engine._loaded.network(input_ids=ids.to(DEVICE)).logits[0]
    expected = logits[prompt["input_ids"].shape[1] - 1 :].float().log_softmax(dim=-1)
    assert finish.logprobs
    for token, told, row in zip(finish.ids, finish.logprobs, expected, strict=False):
        assert told.chosen.logprob == pytest.approx(float(row[token]), abs=1e-4)
        assert [c.logprob for c in told.top] == pytest.approx(row.topk(3).values.tolist(), abs=1e-4)


@pytest.mark.parametrize("seed", range(2))
def test_bytes_that_are_no_whole_characters_are_told_as_they_are(harness: suite.Harness, seed: int) -> None:
    finish, pieces = harness.ask("Hello", temperature=30.0, top_k=0, seed=seed, max_new_tokens=60, logprobs=1)
    assert finish.logprobs
    octets = b"".join(
        t.chosen.token.encode() if t.chosen.bytes is None else bytes(t.chosen.bytes) for t in finish.logprobs
    )
    assert octets.decode(errors="replace") == finish.text
    assert any(t.chosen.bytes for t in finish.logprobs)
    assert [t.start for t in finish.logprobs] == sorted(t.start for t in finish.logprobs)
    assert tuple(t for p in pieces if p.text for t in p.logprobs or ()) == finish.logprobs
