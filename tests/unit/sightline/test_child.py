"""One process of the service: what a stop leaves behind, and when it comes back."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil
import pytest

from sightline.serving import child as module
from sightline.serving.child import Child, Command
from tests.support.clients import until_async
from tests.support.patience import PATIENCE_S

DEADLINE_S = PATIENCE_S

LISTENS = "import signal; print('up', flush=True); signal.pause()"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LISTENS}"
WITH_GRANDCHILD = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid, flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Child]:
    def _start(code: str, *, grace_s: float = DEADLINE_S, stdin: str = "") -> Child:
        argv = (sys.executable, "-c", code)
        command = Command("child", argv, {}, tmp_path, tmp_path / "child.log", grace_s, stdin)
        child = Child(command)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, child.reap)
        # It may have ended before there was a handler.
        child.reap()
        return child

    return _start


def log_of(child: Child) -> Path:
    assert child.command.log is not None
    return child.command.log


async def zombie(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


async def ran(start: Callable[..., Child], said: str) -> Child:
    """One that says that and has ended."""
    child = start(f"print({said!r})")
    await asyncio.wait_for(child.exited.wait(), DEADLINE_S)
    return child


async def printed(child: Child) -> str:
    """The first line of its log, as soon as it is there."""

    async def line() -> str | Literal[False]:
        text = log_of(child).read_text()
        return text.endswith("\n") and text.strip()

    return await until_async(line)


@pytest.mark.parametrize(
    ("code", "grace_s", "ended_by"),
    [(LISTENS, DEADLINE_S, signal.SIGTERM), (IGNORES_SIGTERM, 0.05, signal.SIGKILL)],
)
async def test_stop_asks_before_it_kills_what_does_not_listen(
    code: str, grace_s: float, ended_by: int, start: Callable[..., Child]
) -> None:
    child = start(code, grace_s=grace_s)
    await printed(child)

    await child.stop()

    assert child.exit_code == -ended_by


async def test_a_process_that_dies_while_it_is_stopped_is_noticed(start: Callable[..., Child]) -> None:
    """Sending it a signal sees its end first, and would hide it for ever."""
    child = start(LISTENS)
    await printed(child)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
    os.kill(child.pid, signal.SIGKILL)
    await until_async(lambda: zombie(child.pid))
    stopping = asyncio.ensure_future(child.stop())
    await asyncio.sleep(0)
    child.reap()
    await asyncio.wait_for(stopping, DEADLINE_S)


async def test_dead_process_leaves_no_grandchild_behind(start: Callable[..., Child]) -> None:
    child = start(WITH_GRANDCHILD)
    await asyncio.wait_for(child.exited.wait(), DEADLINE_S)

    grandchild = int(await printed(child))

    async def ended() -> bool:
        try:
            return bool(psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    await until_async(ended)


async def test_secret_reaches_the_child_by_its_standard_input(start: Callable[..., Child]) -> None:
    child = start("import sys; print(sys.stdin.read(), flush=True)", stdin="requirepass k7")
    await asyncio.wait_for(child.exited.wait(), DEADLINE_S)

    assert await printed(child) == "requirepass k7"
    assert "k7" not in repr(child.command)


async def test_a_new_start_keeps_the_night_s_evidence(start: Callable[..., Child]) -> None:
    for said in ("the night before", "this morning"):
        child = await ran(start, said)

    assert log_of(child).read_text() == "the night before\nthis morning\n"
    assert child.last_lines().endswith("  | this morning")


@pytest.mark.parametrize(
    ("become", "quoted"),
    [(Path.unlink, ""), (lambda log: log.write_text("why\n"), "  | why")],
    ids=["lost with its folder", "emptied under way"],
)
async def test_a_death_is_told_whatever_became_of_the_log(
    become: Callable[[Path], object], quoted: str, start: Callable[..., Child]
) -> None:
    for said in ("a long night before", "this morning"):
        child = await ran(start, said)

    become(log_of(child))

    assert child.last_lines() == quoted


async def test_a_log_that_cannot_be_put_by_does_not_keep_its_process_from_starting(
    start: Callable[..., Child], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "LONGEST_LOG", 3)
    (tmp_path / "child.log.1").mkdir()
    for said in ("one", "two"):
        child = await ran(start, said)

    assert log_of(child).read_text() == "one\ntwo\n"


async def test_logs_do_not_fill_the_disk_over_many_restarts(
    start: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_LOG", 3)
    for said in ("one", "two", "three"):
        child = await ran(start, said)

    folder = log_of(child).parent
    assert {log.name: log.read_text() for log in folder.iterdir()} == {
        "child.log": "three\n",
        "child.log.1": "two\n",
    }
