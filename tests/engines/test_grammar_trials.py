"""Formats that take long to try keep nobody else's waiting."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.support.clients import PATIENCE_S, until
from worker.engines.grammar import compiler
from worker.engines.grammar.compiler import AT_ONCE, KEPT, Trials
from worker.engines.grammar.sandbox import TrialError


class Held:
    """In place of the child process: a trial begins, and ends when the test says so."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._changed = threading.Condition()
        self._ended: set[str] = set()

    def fault(self, grammar: str) -> str:
        with self._changed:
            self.begun.append(grammar)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: grammar in self._ended, PATIENCE_S)
        return f"{grammar} is tried"

    def end(self, grammar: str) -> None:
        with self._changed:
            self._ended.add(grammar)
            self._changed.notify_all()

    def until(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= count, PATIENCE_S), self.begun
            return list(self.begun)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    trial = Held()
    monkeypatch.setattr(compiler, "fault", trial.fault)
    return trial


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trials that take no time and find nothing."""
    grammars: list[str] = []

    def fault(grammar: str) -> str:
        grammars.append(grammar)
        return ""

    monkeypatch.setattr(compiler, "fault", fault)
    return grammars


def asked(tried: Trials, threads: ThreadPoolExecutor, caller: str, *grammars: str) -> list[Future[str]]:
    """Each in a thread of its own, all of them in line or under way."""
    before = in_line(tried, caller)
    futures = [threads.submit(tried.fault, grammar, caller) for grammar in grammars]
    until(lambda: in_line(tried, caller) == before + len(grammars))
    return futures


def in_line(tried: Trials, caller: str) -> int:
    places = tried._places._queue
    return places.amounts[caller] + [*places.waiting.values()].count(caller)


def test_a_caller_s_slow_formats_let_each_other_caller_s_go_first(held: Held) -> None:
    tried = Trials()
    with ThreadPoolExecutor(12) as threads:
        slow = asked(tried, threads, "slow", *(f"slow {n}" for n in range(8)))
        begun = held.until(AT_ONCE)
        futures = [*slow, *asked(tried, threads, "one", "one"), *asked(tried, threads, "two", "two")]
        again = asked(tried, threads, "one", "one again")
        held.end(begun[0])
        # Which of a caller's threads wakes first is nobody's concern.
        first = held.until(3)[2]
        assert first in ("one", "one again")
        held.end(first)
        assert held.until(4)[3:] == ["two"]
        held.end("two")
        assert {first, held.until(5)[4]} == {"one", "one again"}
        held.end(begun[1])
        assert held.until(6)[5].startswith("slow")
        for grammar in ("one", "one again", *(f"slow {n}" for n in range(8))):
            held.end(grammar)
        assert all(future.result(PATIENCE_S).endswith("is tried") for future in [*futures, *again])
    assert not tried._places._queue.amounts


def test_a_format_that_many_threads_wait_for_is_not_tried_by_each(held: Held) -> None:
    tried = Trials()
    with ThreadPoolExecutor(8) as threads:
        futures = asked(tried, threads, "anyone", *["same"] * 8)
        held.until(AT_ONCE)
        held.end("same")
        assert {future.result(PATIENCE_S) for future in futures} == {"same is tried"}
    assert len(held.begun) == AT_ONCE


def test_a_trial_that_did_not_take_place_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> str:
        raise TrialError

    tried = Trials()
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "fault", broken)
        for _ in range(AT_ONCE):
            with pytest.raises(TrialError):
                tried.fault("any", "anyone")
    monkeypatch.setattr(compiler, "fault", lambda _: "")
    assert tried.fault("any", "anyone") == ""


def test_what_was_found_of_countless_formats_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiler, "fault", lambda grammar: grammar)
    tried = Trials()
    for number in range(KEPT + 5):
        tried.fault(str(number), "anyone")
    assert len(tried._found) == KEPT


def test_no_caller_learns_by_the_time_of_an_answer_which_formats_another_asked_for(
    begun: list[str],
) -> None:
    tried = Trials()
    for caller in ("one", "two", "one", "two"):
        tried.fault("same", caller)
    assert begun == ["same", "same"]


def test_a_caller_s_countless_formats_cost_no_other_caller_s_their_place(
    begun: list[str],
) -> None:
    tried = Trials()
    tried.fault("kept", "one")
    for number in range(KEPT + 5):
        tried.fault(str(number), "other")
    tried.fault("kept", "one")
    assert begun.count("kept") == 1


def test_formats_that_end_their_trials_together_break_no_answer_and_fill_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiler, "fault", lambda grammar: grammar)
    together = threading.Barrier(2)

    class Found(dict[tuple[str, str], str]):
        """Who looks for the oldest waits for another who does, before and behind."""

        def __iter__(self) -> Iterator[tuple[str, str]]:
            self._meet()
            names = super().__iter__()
            self._meet()
            return names

        def _meet(self) -> None:
            with suppress(threading.BrokenBarrierError):
                together.wait(0.2)

    tried = Trials()
    tried._found = Found((("anyone", str(number)), "") for number in range(KEPT))
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(tried.fault, ("a", "b"), ("one", "two"))) == ["a", "b"]
    assert len(tried._found) == KEPT
