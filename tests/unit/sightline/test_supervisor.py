"""The supervisor: what a person reads when a process dies, and that it comes back while serving."""

import asyncio
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from sightline.exits import CommandError, Exit
from sightline.serving import supervisor as module
from sightline.serving.child import Child, Command
from sightline.serving.supervisor import Supervisor
from tests.support.clients import until_async
from tests.support.patience import PATIENCE_S

DEADLINE_S = PATIENCE_S
SLEEPS = "import signal; signal.pause()"


def command(tmp_path: Path, name: str, code: str) -> Command:
    return Command(name, (sys.executable, "-c", code), {}, tmp_path, tmp_path / f"{name}.log", DEADLINE_S)


async def said_up(child: Child) -> bool:
    return child.command.log is not None and "up" in child.command.log.read_text()


async def test_death_before_ready_names_the_process_its_code_and_its_last_words(tmp_path: Path) -> None:
    async with Supervisor(print, DEADLINE_S) as supervisor:
        supervisor.start(command(tmp_path, "redis", SLEEPS))
        child = supervisor.start(command(tmp_path, "courier", "print('no such broker'); raise SystemExit(4)"))
        supervisor.check()
        await asyncio.wait_for(child.exited.wait(), DEADLINE_S)

        with pytest.raises(CommandError, match=r"courier died \(exit code 4\)") as caught:
            supervisor.check()

    assert str(caught.value).endswith("\n  | no such broker")
    assert caught.value.code is Exit.CHILD


async def test_a_death_that_is_another_s_business_is_told_once_and_hides_none(tmp_path: Path) -> None:
    told: list[Child] = []
    async with Supervisor(print, DEADLINE_S) as supervisor:
        worker = supervisor.start(command(tmp_path, "worker", "raise SystemExit(71)"), told.append)
        await asyncio.wait_for(worker.exited.wait(), DEADLINE_S)
        supervisor.check()
        courier = supervisor.start(command(tmp_path, "courier", "raise SystemExit(4)"))
        await asyncio.wait_for(courier.exited.wait(), DEADLINE_S)
        with pytest.raises(CommandError, match="courier died"):
            supervisor.check()
    assert told == [worker]


async def test_process_killed_by_the_system_is_reported_as_lack_of_memory(tmp_path: Path) -> None:
    async with Supervisor(print, DEADLINE_S) as supervisor:
        child = supervisor.start(command(tmp_path, "worker", "import os; os.kill(os.getpid(), 9)"))
        await asyncio.wait_for(child.exited.wait(), DEADLINE_S)

        with pytest.raises(CommandError, match="worker was killed by the system") as caught:
            supervisor.check()

    assert caught.value.code is Exit.MEMORY


async def test_one_that_cannot_be_started_again_is_not_said_to_have_died_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log may be what is missing: nothing is to be read there."""
    monkeypatch.setattr(module, "backoff_s", lambda deaths: deaths / 1000)
    said: list[str] = []
    folder = tmp_path / "logs"
    folder.mkdir()
    async with Supervisor(said.append, DEADLINE_S) as supervisor:
        child = supervisor.start(command(folder, "courier", "raise SystemExit(9)"))
        await asyncio.wait_for(child.exited.wait(), DEADLINE_S)
        shutil.rmtree(folder)
        keeping = asyncio.create_task(supervisor.keep())

        async def twice() -> bool:
            return len(said) > 1

        await until_async(twice)
        keeping.cancel()

    assert said[0].startswith("courier died (exit code 9; ")
    assert said[1].startswith("courier could not be started ([Errno 2] No such file or directory: ")
    assert said[1].endswith("), restarting it in 0.002 s")


async def test_record_server_is_stopped_after_those_who_write_to_it(tmp_path: Path) -> None:
    order = tmp_path / "order"
    last_words = (
        "import signal, sys\n"
        "def end(*_):\n"
        "    with open({order!r}, 'a') as f: f.write({name!r} + ' ')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "while True: signal.pause()\n"
    )
    async with Supervisor(print, DEADLINE_S) as supervisor:
        for name in ("redis", "api", "worker"):
            code = last_words.format(order=str(order), name=name)
            child = supervisor.start(command(tmp_path, name, code))
            await until_async(partial(said_up, child))

    assert sorted(order.read_text().split()[:2]) == ["api", "worker"]
    assert order.read_text().split()[2:] == ["redis"]


async def test_program_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    async with Supervisor(print, DEADLINE_S) as supervisor:
        missing = Command("redis", ("/no/such/program",), {}, tmp_path, tmp_path / "redis.log", DEADLINE_S)

        with pytest.raises(CommandError, match=r"redis could not be started: .*No such file"):
            supervisor.start(missing)


async def test_process_started_while_serving_is_kept_and_one_that_is_ended_stays_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "backoff_s", lambda deaths: deaths / 1000)
    said: list[str] = []
    async with Supervisor(said.append, DEADLINE_S) as supervisor:
        first = supervisor.start(command(tmp_path, "redis", SLEEPS))
        keeping = asyncio.create_task(supervisor.keep())
        await asyncio.sleep(0)
        later = supervisor.start(command(tmp_path, "worker", SLEEPS))
        pid = later.pid
        os.kill(pid, signal.SIGKILL)

        async def back() -> bool:
            return later.exit_code is None and later.pid != pid

        await until_async(back)
        await supervisor.end(later)
        assert (later.exit_code, first.exit_code) == (-signal.SIGTERM, None)
        (death,) = said
        assert death.endswith("has more), restarting it in 0.001 s"), "it was started again"
        assert not keeping.done()
        keeping.cancel()
