"""Formats that take long to compile delay no other caller's."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from worker.engines.grammar import compiler
from worker.engines.grammar.compiler import PLACES, sandbox_error
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


def submitted(threads: ThreadPoolExecutor, caller: str, *grammars: str) -> list[Future[str]]:
    """Each in a thread of its own, all of them waiting or in progress."""
    before = in_progress(caller)
    futures = [threads.submit(sandbox_error, grammar, caller) for grammar in grammars]
    until(lambda: in_progress(caller) == before + len(grammars))
    return futures


def in_progress(caller: str) -> int:
    return PLACES._amounts[caller] + [*PLACES._waiting.values()].count(caller)


def test_a_caller_s_slow_formats_let_each_other_caller_s_go_first(paused: PausedSandbox) -> None:
    names = [f"slow {n}" for n in range(8)]
    with ThreadPoolExecutor(9) as threads:
        futures = submitted(threads, "slow", *names)
        begun = paused.until(2)
        futures += submitted(threads, "other", "other's")
        paused.end(begun[0])
        assert paused.until(3)[-1] == "other's"
        for grammar in ("other's", *names):
            paused.end(grammar)
        assert all(future.result(PATIENCE_S).endswith("is compiled") for future in futures)
    assert not PLACES._amounts


def test_a_sandbox_that_failed_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> str:
        raise SandboxError

    with monkeypatch.context() as patch:
        patch.setattr(compiler, "compile_error", broken)
        for _ in range(2):
            with pytest.raises(SandboxError):
                sandbox_error("any", "anyone")
    monkeypatch.setattr(compiler, "compile_error", lambda _: "")
    assert sandbox_error("any", "anyone") == ""


def test_no_caller_learns_by_the_time_of_an_answer_which_formats_another_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(compiler, "compile_error", begun.append)
    for caller in ("one", "two", "one", "two"):
        sandbox_error("same", caller)
    assert begun == ["same", "same"]
