"""The clock of `benchmarks.catalogue`: what it compares is what each policy does, for the same calls."""

from collections.abc import Mapping

import pytest

from benchmarks.catalogue.machine import LINES, LRU, Call, CatalogueModel, Machine, policies

LOAD_S, UNLOAD_S, SERVICE_S = 10.0, 1.0, 100.0
MODELS = [CatalogueModel(name, need, LOAD_S, UNLOAD_S, rows=2) for name, need in (("a", 1), ("b", 1))]


def waits(policy: str, rooms: Mapping[str, float] | None = None) -> list[float]:
    """Of `a`, of `b` that has no room while `a` computes, and of `a` once more."""
    calls = [Call("a", 20.0, SERVICE_S), Call("b", 40.0, SERVICE_S), Call("a", 50.0, SERVICE_S)]
    Machine(rooms or {"cuda:0": 1}, MODELS, policies()[policy]).serve(calls)
    return [call.waited_s for call in calls]


def test_in_one_line_a_call_waits_for_who_came_before_it_though_its_model_stands() -> None:
    first, second, third = waits(LRU)
    assert first == LOAD_S
    assert second == pytest.approx(30 + SERVICE_S - 40 + UNLOAD_S + LOAD_S)
    assert third == pytest.approx(40 + second + SERVICE_S + UNLOAD_S + LOAD_S - 50), "`b` had to leave again"


def test_where_each_model_has_a_line_it_does_not() -> None:
    first, second, third = waits(LINES)
    assert (first, third) == (LOAD_S, 0)
    assert second == pytest.approx(50 + SERVICE_S - 40 + UNLOAD_S + LOAD_S)


def test_our_policy_has_loaded_beforehand_what_has_room() -> None:
    assert waits("ours", {"cuda:0": 1, "cuda:1": 1}) == [0, 0, 0]
