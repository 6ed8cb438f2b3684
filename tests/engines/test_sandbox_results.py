"""Formats that take long to compile delay no other caller's."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from worker.engines.grammar import compiler
from worker.engines.grammar.compiler import MAX_CACHED, MAX_CONCURRENT, SandboxResults
from worker.engines.grammar.sandbox import SandboxError


class PausedSandbox:
    """In place of the child process: compiling begins, and ends when the test says so."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._changed = threading.Condition()
        self._ended: set[str] = set()

    def compile_error(self, grammar: str) -> str:
        with self._changed:
            self.begun.append(grammar)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: grammar in self._ended, PATIENCE_S)
        return f"{grammar} is compiled"

    def end(self, grammar: str) -> None:
        with self._changed:
            self._ended.add(grammar)
            self._changed.notify_all()

    def until(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= count, PATIENCE_S), self.begun
            return list(self.begun)


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> PausedSandbox:
    sandbox = PausedSandbox()
    monkeypatch.setattr(compiler, "compile_error", sandbox.compile_error)
    return sandbox


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a sandbox compiled that takes no time and finds no error."""
    grammars: list[str] = []

    def compile_error(grammar: str) -> str:
        grammars.append(grammar)
        return ""

    monkeypatch.setattr(compiler, "compile_error", compile_error)
    return grammars


def submitted(
    results: SandboxResults, threads: ThreadPoolExecutor, caller: str, *grammars: str
) -> list[Future[str]]:
    """Each in a thread of its own, all of them waiting or in progress."""
    before = in_progress(results, caller)
    futures = [threads.submit(results.error, grammar, caller) for grammar in grammars]
    until(lambda: in_progress(results, caller) == before + len(grammars))
    return futures


def in_progress(results: SandboxResults, caller: str) -> int:
    places = results._places
    return places._amounts[caller] + [*places._waiting.values()].count(caller)


def test_a_caller_s_slow_formats_let_each_other_caller_s_go_first(paused: PausedSandbox) -> None:
    results, names = SandboxResults(), [f"slow {n}" for n in range(8)]
    with ThreadPoolExecutor(9) as threads:
        futures = submitted(results, threads, "slow", *names)
        begun = paused.until(MAX_CONCURRENT)
        futures += submitted(results, threads, "other", "other's")
        paused.end(begun[0])
        assert paused.until(MAX_CONCURRENT + 1)[-1] == "other's"
        for grammar in ("other's", *names):
            paused.end(grammar)
        assert all(future.result(PATIENCE_S).endswith("is compiled") for future in futures)
    assert not results._places._amounts


def test_a_sandbox_that_failed_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> str:
        raise SandboxError

    results = SandboxResults()
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "compile_error", broken)
        for _ in range(MAX_CONCURRENT):
            with pytest.raises(SandboxError):
                results.error("any", "anyone")
    monkeypatch.setattr(compiler, "compile_error", lambda _: "")
    assert results.error("any", "anyone") == ""


def test_no_caller_learns_by_the_time_of_an_answer_which_formats_another_sent(begun: list[str]) -> None:
    results = SandboxResults()
    for caller in ("one", "two", "one", "two"):
        results.error("same", caller)
    assert begun == ["same", "same"]


def test_a_caller_s_countless_formats_cost_no_other_caller_s_their_place(begun: list[str]) -> None:
    results = SandboxResults()
    results.error("first", "one")
    for number in range(MAX_CACHED + 5):
        results.error(str(number), "other")
    results.error("first", "one")
    assert begun.count("first") == 1


def test_formats_that_are_compiled_together_break_no_answer_and_fill_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiler, "compile_error", lambda grammar: grammar)
    together = threading.Barrier(2)

    class Errors(dict[tuple[str, str], str]):
        """A thread that looks for the oldest waits for another that does, before and after."""

        def __iter__(self) -> Iterator[tuple[str, str]]:
            self._meet()
            names = super().__iter__()
            self._meet()
            return names

        def _meet(self) -> None:
            with suppress(threading.BrokenBarrierError):
                together.wait(0.2)

    results = SandboxResults()
    results._errors = Errors((("anyone", str(number)), "") for number in range(MAX_CACHED))
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(results.error, ("a", "b"), ("one", "two"))) == ["a", "b"]
    assert len(results._errors) == MAX_CACHED
