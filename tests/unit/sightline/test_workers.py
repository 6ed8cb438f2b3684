"""The workers of `sightline run`: what an operator adds by mistake ends neither the service nor its start."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.errors import Unavailable
from shared.models import Model, Models
from shared.registry import Registry
from shared.settings import RedisSettings, Settings
from shared.store.models import Registrations
from shared.store.script import Store, connect
from shared.store.workers import State, beat, fleet
from sightline.exits import CommandError, Exit
from sightline.serving import workers as module
from sightline.serving.child import Command
from sightline.serving.folder import DataFolder
from sightline.serving.plan import Plan
from sightline.serving.workers import Workers
from tests.support.clients import until_async
from tests.support.redis_server import redis_server

OWN, NEW = Model(id="org/own", engine="echo"), Model(id="org/new", engine="echo")
OTHER = NEW.model_copy(update={"rows": 2})


@dataclass(eq=False)
class Process:
    command: Command
    pid: int = 0
    exit_code: int | None = None


@dataclass
class Stage:
    """A supervisor that starts nothing, and the record store in front of it."""

    added: tuple[Model, ...] = ()
    removed: tuple[Model, ...] = ()
    refused: str = ""
    running: list[Command] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    children: list[Any] = field(default_factory=list)

    def start(self, command: Command, died: object = None) -> Any:  # noqa: ARG002
        if self.refused and self.refused in command.name:
            raise CommandError(Exit.CHILD, "no more processes")
        self.running.append(command)
        self.children.append(Process(command))
        return self.children[-1]

    async def end(self, child: Any) -> None:
        self.running.remove(child.command)

    def run(self, call: Any) -> Registrations:
        """The store that has the models, and nothing to say of workers."""
        if call.function != "models":
            raise Unavailable("store_unavailable", "")
        rows = {model.lane: model.model_dump_json(exclude_defaults=True) for model in self.added}
        return Registrations(rows, frozenset(model.lane for model in self.removed), {})

    def names(self) -> list[str]:
        return [command.name for command in self.running]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)


def made(stage: Stage, folder: Path, *own: Model, count: int = 1) -> Workers:
    """With `count` workers of each model."""
    plan = Plan(Settings(), DataFolder(folder), 8000, "redis://127.0.0.1:7000/0", [{}] * count)
    parts: tuple[Any, Any] = stage, stage
    workers = Workers(parts[0], plan, Registry(Models(own or (OWN,))), parts[1], stage.said.append)
    workers.refresh()
    return workers


async def test_an_added_model_is_started_when_the_service_serves_and_not_before(tmp_path: Path) -> None:
    """Its death would end the start, and without an API nobody could remove it."""
    stage = Stage(added=(NEW,))
    workers = made(stage, tmp_path)
    assert workers.start() == (OWN,)
    assert stage.names() == ["worker-org--own"]
    async with followed(workers):
        await until_async(lambda: running(stage, "worker-org--own", "worker-org--new"))


def test_a_row_that_was_removed_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    stage = Stage(removed=(OWN,))
    assert made(stage, tmp_path).start() == ()
    assert "`sightline models add FILE --model org/own` brings it back" in "\n".join(stage.said)


async def test_one_that_cannot_be_started_is_said_once_and_ends_no_other(tmp_path: Path) -> None:
    stage = Stage(added=(NEW,), refused="new")
    workers = made(stage, tmp_path)
    workers.start()
    async with followed(workers):
        await until_async(lambda: heard(stage, "org/new is not started yet: no more processes"))
        stage.refused = ""
        await until_async(lambda: running(stage, "worker-org--own", "worker-org--new"))
    assert len([line for line in stage.said if "not started yet" in line]) == 1


def test_of_several_workers_those_that_run_are_not_started_again_and_again(tmp_path: Path) -> None:
    stage = Stage(added=(NEW,), refused="new-2")
    workers = made(stage, tmp_path, count=2)
    for _ in range(3):
        workers._start_missing()
    assert stage.names() == ["worker-org--own", "worker-org--own-2", "worker-org--new"]


async def test_a_model_that_comes_back_with_another_row_gets_another_worker(tmp_path: Path) -> None:
    stage = Stage(added=(NEW,))
    workers = made(stage, tmp_path)
    workers.start()
    async with followed(workers):
        await until_async(lambda: running(stage, "worker-org--own", "worker-org--new"))
        before = stage.running[1]
        stage.added = (OTHER,)
        await until_async(lambda: heard(stage, "worker-org--new is stopped"))
        await until_async(lambda: running(stage, "worker-org--own", "worker-org--new"))
    assert stage.running[1].argv != before.argv, "as many threads as before, though it has more rows"


def test_the_longest_name_of_a_model_is_one_that_its_log_can_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fewer slashes"):
        Model(id="a/" * 99 + "a", engine="echo")
    longest = Model(id="a/" * 40 + "a" * 120, engine="echo")
    [worker] = Plan(Settings(), DataFolder(tmp_path), 8000, "redis://127.0.0.1:7000/0").workers(longest)
    assert len(os.fsencode(f"{worker.log.name}.1")) <= 255, "where it is put by"


def test_callers_of_a_model_whose_worker_is_on_its_way_are_told_that_it_starts(tmp_path: Path) -> None:
    """Whether its process has not come so far yet, or is started again after a crash."""
    stage = Stage()
    with redis_server() as server:
        settings = Settings(redis=RedisSettings(url=SecretStr(server.url())))
        store = connect(settings.redis)
        parts: tuple[Any, Any] = stage, store
        plan = Plan(settings, DataFolder(tmp_path), 8000, server.url())
        workers = Workers(parts[0], plan, Registry(Models((OWN,))), parts[1], stage.said.append)

        def state() -> tuple[str, int]:
            workers.announce()
            [lane] = store.run(fleet(settings, [OWN.lane]))
            return lane.lane.state, len(lane.workers)

        workers.start()
        [child] = stage.children
        child.pid = 4711
        assert state() == ("loading", 1)
        report(settings, store, child.pid)
        assert state() == ("ready", 1), "it has reported itself"
        child.exit_code = -9
        report(settings, store, child.pid, "gone")
        assert state() == ("loading", 1), "it is started again"
        child.pid, child.exit_code = 4712, None
        assert state() == ("loading", 1)
        report(settings, store, child.pid)
        assert state() == ("ready", 1)
        report(settings, store, child.pid, "gone")
        assert state() == ("no_worker", 0), "a process that hangs is not on its way"


def report(settings: Settings, store: Store, pid: int, state: State = "ready") -> None:
    record = {"pid": str(pid), "host": socket.gethostname()}
    call = beat(settings, worker=f"worker_{pid}", lane=OWN.lane, state=state, facts={}, record=record)
    store.run(call)


@asynccontextmanager
async def followed(workers: Workers) -> AsyncIterator[None]:
    following = asyncio.create_task(workers.follow())
    yield
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


async def running(stage: Stage, *names: str) -> bool:
    return stage.names() == list(names)


async def heard(stage: Stage, words: str) -> bool:
    return any(words in line for line in stage.said)


@pytest.mark.parametrize(
    ("ends", "spared"), [((71, None), 1), ((71, 71), 0), ((-11, None), 1), ((71, -11), 0), ((None, None), 0)]
)
def test_a_model_that_cannot_be_loaded_ends_the_start_only_where_no_other_is_left(
    ends: tuple[int | None, ...], spared: int, tmp_path: Path
) -> None:
    stage = Stage()
    workers = made(stage, tmp_path, OWN, NEW)
    workers.start()
    for child, code in zip(stage.children, ends, strict=True):
        child.exit_code = code

    assert workers.failed() == stage.children[:spared]


def test_where_all_rows_of_the_file_die_a_model_that_was_added_is_still_served(tmp_path: Path) -> None:
    stage = Stage(added=(NEW,))
    workers = made(stage, tmp_path)
    workers.start()
    stage.children[0].exit_code = 71
    assert workers.failed() == stage.children
