"""The cache benchmark's own pairs: a field that is never changed has nothing proven of it."""

import random

import pytest

from benchmarks.cache.pairs import FIELDS, SAME, differing, pairs
from shared.cache_key import request_hash
from shared.request import Frozen, Function, Message, Parameters, Request, ToolCall, Tools

UNSEEN: dict[type[Frozen], set[str]] = {Request: {"named", "unshown"}, Message: {"param"}, ToolCall: {"id"}}
"""What no model sees: where things were in the body, functions kept back, and the ids of calls."""


def fields(model: type[Frozen]) -> set[str]:
    return set(model.model_fields) - UNSEEN.get(model, set())


def below(prefix: str) -> set[str]:
    """The fields that are changed of what stands there."""
    return {name.removeprefix(prefix).split(".")[0].split()[0] for name in FIELDS if name.startswith(prefix)}


def test_every_field_of_a_request_is_changed_in_some_pair() -> None:
    assert below("") == fields(Request) | {"caller", "revision"}
    assert below("parameters.") == fields(Parameters)
    assert below("messages.") == fields(Message)
    assert below("messages.calls.") == fields(ToolCall)
    assert below("tools.") == fields(Tools)
    assert below("tools.functions.") == fields(Function)


@pytest.mark.parametrize("what", FIELDS)
def test_a_pair_that_differs_is_two_questions_that_a_record_can_hold(what: str) -> None:
    dice = random.Random(what)  # noqa: S311
    for _ in range(20):
        pair = differing(dice, what)
        assert pair.one != pair.other
        for asked in (pair.one, pair.other):
            assert Request.model_validate_json(asked.request.model_dump_json()) == asked.request


def test_a_pair_that_is_the_same_is_written_otherwise_and_is_the_same_question() -> None:
    same = [pair for pair in pairs(200, seed=1) if pair.field == SAME]
    assert len(same) == 100
    assert sum(pair.one != pair.other for pair in same) > 50
    for pair in same:
        assert request_hash(pair.one.request, "main") == request_hash(pair.other.request, "main")
