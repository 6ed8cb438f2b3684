"""Workers that are forked: each is as if it had been started, and none is left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from shared.models import Model
from shared.settings import Settings
from sightline.serving import fork_server as module
from sightline.serving import processes
from sightline.serving.child import Child, Command
from sightline.serving.fork_server import FORKS, ForkServer
from sightline.serving.interpreter import PYTHON, with_our_packages
from tests.support.clients import until_async
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(not FORKS, reason="workers are forked on Linux only")
DEADLINE_S = PATIENCE_S
TOLD = """
import json, os, signal, sys
print(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "path": sys.path,
    "session": os.getsid(0) == os.getpid(), "name": __name__, "stdin": sys.stdin.read(),
    "child": str(signal.getsignal(signal.SIGCHLD))}), flush=True)
raise SystemExit(7)
"""
WAITS = "import signal; print('up', flush=True); signal.pause()"
THREADED = "import threading, time; threading.Thread(target=time.sleep, args=(9e4,), daemon=True).start()"
DEVICE_TOUCHED = """
import os, torch
def touched(*_):
    raise AssertionError("a device was touched")
for name in ("is_available", "device_count", "init", "_lazy_init", "current_device"):
    setattr(torch.cuda, name, touched)
from worker.fork_server import ENGINES, preload
preload([*ENGINES])
print(len(os.listdir("/proc/self/task")))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForkServer]:
    """It finds the tests' modules as it finds ours."""
    env = with_our_packages({"PYTHONPATH": str(tmp_path), "GREETING": "of the server"})
    argv = (*PYTHON, "-m", "worker.fork_server")
    with closing(ForkServer(Command("fork-server", argv, env, tmp_path, tmp_path / "server.log", 1))) as made:
        yield made


def child(server: ForkServer, folder: Path, code: str, env: dict[str, str] | None = None) -> Child:
    (folder / "told.py").write_text(code)
    argv = (*PYTHON, "-m", "told", "one", "two")
    command = Command("worker", argv, env or {}, folder, folder / "worker.log", DEADLINE_S)
    made = Child(server.forked(command))
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, made.reap)
    made.reap()
    return made


async def up(folder: Path) -> None:
    async def said() -> bool:
        return "up" in (folder / "worker.log").read_text()

    await until_async(said)


async def test_a_forked_worker_is_as_if_it_had_been_started(server: ForkServer, tmp_path: Path) -> None:
    made = child(server, tmp_path, TOLD, {"ONLY": "this"})
    await asyncio.wait_for(made.exited.wait(), DEADLINE_S)

    told = json.loads((tmp_path / "worker.log").read_text())

    assert made.exit_code == 7
    assert (told["argv"], told["env"], told["name"]) == (["one", "two"], {"ONLY": "this"}, "__main__")
    assert (told["cwd"], told["session"], told["stdin"]) == (str(tmp_path), True, "")
    assert told["child"] == str(signal.SIG_DFL)
    assert "" not in told["path"]


async def test_a_forked_worker_drains_when_it_is_stopped(server: ForkServer, tmp_path: Path) -> None:
    made = child(server, tmp_path, WAITS)
    await up(tmp_path)

    await made.stop()

    assert made.exit_code == -signal.SIGTERM


async def test_a_killed_fork_server_leaves_no_worker_behind_and_the_next_start_works(
    server: ForkServer, tmp_path: Path
) -> None:
    made = child(server, tmp_path, WAITS)
    await up(tmp_path)
    worker = psutil.Process(made.pid)

    os.kill(server._process.pid, signal.SIGKILL)
    await asyncio.wait_for(made.exited.wait(), DEADLINE_S)
    await server.warm()
    made.restart()

    assert await asyncio.to_thread(worker.wait, DEADLINE_S) is None
    assert made.pid != worker.pid
    await made.stop()


async def test_a_stop_does_not_wait_for_a_fork_server_that_imports(server: ForkServer) -> None:
    hung = psutil.Process(server._process.pid)
    hung.suspend()
    warming = asyncio.create_task(server.warm())
    await asyncio.sleep(0)
    warming.cancel()
    await asyncio.gather(warming, return_exceptions=True)
    assert await asyncio.to_thread(hung.wait, DEADLINE_S) is not None


async def test_a_worker_stops_beside_a_hung_fork_server(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = child(server, tmp_path, WAITS)
    await up(tmp_path)
    worker = psutil.Process(made.pid)
    psutil.Process(server._process.pid).suspend()
    monkeypatch.setattr(module, "ANSWER_S", 0.1)

    await asyncio.wait_for(made.stop(), DEADLINE_S)

    assert await asyncio.to_thread(worker.wait, DEADLINE_S) is None


async def test_nothing_is_forked_beside_threads(server: ForkServer, tmp_path: Path) -> None:
    """As an operator's agent starts them in each Python process."""
    (tmp_path / "sitecustomize.py").write_text(THREADED)
    env = with_our_packages({"PYTHONPATH": str(tmp_path)})

    made = child(server, tmp_path, TOLD, env)
    await asyncio.wait_for(made.exited.wait(), DEADLINE_S)

    assert (made.exit_code, isinstance(made._process, subprocess.Popen)) == (7, True)


async def test_a_fork_server_that_cannot_run_is_told(tmp_path: Path) -> None:
    argv = (sys.executable, "-c", "raise SystemExit('no torch here')")
    with (
        closing(ForkServer(Command("fork-server", argv, {}, tmp_path, tmp_path / "server.log", 1))) as broken,
        pytest.raises(OSError, match=r"fork server ended|Broken pipe"),
    ):
        await broken.warm()

    assert "no torch here" in (tmp_path / "server.log").read_text()


def test_what_is_imported_before_the_fork_starts_no_thread_and_touches_no_device() -> None:
    """A fork has one thread and, of a device that was in use, nothing."""
    env = os.environ | dict(
        processes.fork_server(Settings(), [Model(id="m", engine="auto", source="org/m")]).env
    )
    argv = [*PYTHON, "-c", DEVICE_TOUCHED]
    done = subprocess.run(argv, env=with_our_packages(env), capture_output=True, text=True, check=False)

    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def test_where_every_model_is_an_echo_nothing_heavy_is_imported() -> None:
    [module, *engines] = processes.fork_server(Settings(), [Model(id="m", engine="echo")]).argv
    code = f"import sys; from {module} import preload; preload({engines}); print('torch' in sys.modules)"
    env = with_our_packages(os.environ)
    done = subprocess.run([*PYTHON, "-c", code], env=env, capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
