"""The node: what it starts and ends, by what the record store says; its processes are not started here."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared import ids
from shared.models import Model, Models
from shared.registry import Registry
from shared.settings import RedisSettings, Settings
from shared.store.admission import JobTerms, Placing, Submitted, submit
from shared.store.jobs import cancel
from shared.store.models import add, change, remove
from shared.store.script import Store, connect
from shared.store.workers import State, beat, fleet
from sightline.exits import CommandError, Exit
from sightline.serving.child import Command
from sightline.serving.devices import Devices
from sightline.serving.folder import DataFolder
from sightline.serving.node import Node
from sightline.serving.plan import Plan
from tests.support.redis_server import redis_server

OWN, NEW = Model(id="org/own", engine="echo"), Model(id="org/new", engine="echo")
ROOM_MB = 150
"""For one echo."""
ID = "SIGHTLINE_WORKER__ID"


@dataclass(eq=False)
class Process:
    """A child that is none."""

    command: Command
    died: Callable[[Any], None]
    pid: int = 4711
    exit_code: int | None = None
    ending: str = ""

    def last_lines(self) -> str:
        return ""


@dataclass
class Stage:
    """A supervisor that starts nothing."""

    refused: str = ""
    children: list[Process] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def start(self, command: Command, died: Callable[[Any], None]) -> Any:
        if self.refused and self.refused in command.name:
            raise CommandError(Exit.CHILD, "no more processes")
        self.children.append(Process(command, died))
        return self.children[-1]

    async def end(self, child: Any) -> None:
        self.children.remove(child)

    def reap(self) -> None:
        """A test says which processes end."""

    def names(self) -> list[str]:
        return [child.command.name for child in self.children]


@dataclass
class Machine:
    """One node, whose processes report what a test says; its time passes as the test says, too."""

    store: Store
    settings: Settings
    node: Node
    stage: Stage
    clock: list[float]

    def look(self, passed_s: float = 2.0) -> list[str]:
        """Look once, so much later; returns the names of the workers that run."""

        async def look() -> None:
            await self.node.look()
            await asyncio.gather(*self.node._tasks)

        self.clock[0] += passed_s
        asyncio.run(look())
        return self.stage.names()

    def report(self, child: Process, state: State = "ready", **facts: str) -> None:
        """As the process would."""
        facts |= {"failed": ""} if state == "ready" else {}
        call = partial(beat, self.settings, worker=child.command.env[ID], state=state, facts=facts, record={})
        self.store.run(call(lane=f"model.{child.command.env['SIGHTLINE_WORKER__MODEL'].replace('/', '--')}"))

    def end(self, child: Process, code: int) -> None:
        """The process ends unasked."""

        async def end() -> None:
            child.died(child)
            await asyncio.gather(*self.node._tasks)

        child.exit_code, child.ending = code, f"exit code {code}"
        self.stage.children.remove(child)
        asyncio.run(end())

    def refuse(self, model: Model) -> None:
        """A caller who waits for nothing asks for it."""
        assert self.submit(model, must_be_ready=True).word == "unready"

    def submit(self, model: Model, *, must_be_ready: bool = False) -> Submitted:
        placing = Placing(
            job=ids.job_id(),
            caller="",
            model=model.id,
            lane=model.lane,
            priority="normal",
            hash="",
            key=None,
            blobs=(),
            cost=1,
            request="{}",
        )
        return self.store.run(submit(placing, self.settings, JobTerms(must_be_ready=must_be_ready)))

    def state(self, model: Model = OWN) -> tuple[str, str | None]:
        [seen] = self.store.run(fleet(self.settings, [model.lane]))
        return seen.lane.state, seen.lane.failed


Make = Callable[..., Machine]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    clock = [time.monotonic()]
    monkeypatch.setattr("sightline.serving.node.time.monotonic", lambda: clock[0])
    with redis_server() as server:
        settings = Settings(redis=RedisSettings(url=SecretStr(server.url())))

        def make(*models: Model, room_mb: int = 4096, copies: int = 1) -> Machine:
            stage: Any = Stage()
            store, plan = connect(settings.redis), Plan(settings, server.url(), DataFolder(tmp_path))
            registry, devices = Registry(Models(models or (OWN,))), Devices(room_mb)
            node = Node(stage, plan, registry, store, devices, stage.said.append, copies)
            return Machine(store, settings, node, stage, clock)

        yield make


def test_a_catalogue_that_fits_is_loaded_before_anybody_asks(machine: Make) -> None:
    here = machine(OWN, NEW)
    here.look()
    assert here.state() == ("loading", None), "before its process has come so far as to say so"
    here.report(here.stage.children[0])
    assert here.look() == ["worker-org--own", "worker-org--new"]


def test_what_a_worker_takes_is_measured_once_it_is_whole(machine: Make) -> None:
    here = machine()
    here.look()
    worker = here.stage.children[0]
    worker.pid = os.getpid()
    here.report(worker)
    here.look(0.1)
    guessed = here.node.devices.need(OWN)
    here.look(3.0)
    assert here.node.devices.need(OWN) != guessed == Devices().need(OWN)


def test_callers_of_a_model_that_has_room_nowhere_are_told_so_until_a_machine_comes_that_has(
    machine: Make,
) -> None:
    large = NEW.model_copy(update={"memory_mb": 9000})
    here = machine(OWN, large)
    here.look()
    here.look()
    why = "no machine has room for it: it needs 9.4 GB; beside what always stays cpu has 4.3"
    assert here.state(NEW) == ("failed", why)
    other = machine(OWN, large, room_mb=10_000)
    assert other.look() == ["worker-org--new"]
    other.report(other.stage.children[0])
    assert other.state(NEW)[0] == "ready"
    assert [line for line in here.stage.said if "org/new" in line] == [
        "model    org/new cannot be loaded on this machine: "
        "it needs 9.4 GB; beside what always stays cpu has 4.3"
    ]


def test_several_workers_of_a_model_have_names_and_logs_of_their_own(machine: Make) -> None:
    here = machine(copies=2)
    for _ in range(2):
        for child in here.stage.children:
            here.report(child)
        here.look()
    assert here.stage.names() == ["worker-org--own", "worker-org--own-2"]


def test_a_model_that_comes_back_with_another_row_gets_another_worker(machine: Make) -> None:
    here = machine()
    here.store.run(add(NEW.lane, NEW.model_dump_json(exclude_defaults=True)))
    here.look()
    here.report(here.stage.children[0])
    here.look()
    before = here.stage.children[1]
    other = NEW.model_copy(update={"rows": 2})
    here.store.run(remove(NEW.lane))
    here.store.run(add(NEW.lane, other.model_dump_json(exclude_defaults=True)))
    here.look()
    assert here.look() == ["worker-org--own", "worker-org--new-2"], "the former one's log is its own"
    assert here.stage.children[1].command.argv != before.command.argv, "as many threads as before"


def test_a_load_that_fails_is_told_with_when_it_is_tried_again_and_hurts_no_other(machine: Make) -> None:
    here = machine(OWN, NEW)
    here.look()
    bad = here.stage.children[0]
    here.report(bad, "loading")
    here.report(bad, "gone", failed="no such weights")
    here.end(bad, 71)
    assert here.look(0.1) == ["worker-org--new"], "not at once"
    assert here.state() == ("failed", "no such weights (tried again in 1 s, failure 1 in a row)")
    here.report(here.stage.children[0])
    assert here.look() == ["worker-org--new", "worker-org--own"]


def test_callers_wait_for_a_load_that_was_killed_twice(machine: Make) -> None:
    """The third time in a row they are refused; a load that ends well is none of a row."""
    here = machine()
    for kills in (2, 3):
        for kill in range(kills):
            assert here.look(32) == ["worker-org--own"]
            here.report(here.stage.children[0], "loading")
            assert not here.node.rests
            here.end(here.stage.children[0], -9)
            here.look(0.1)
            assert (here.state()[0], here.node.rests) == (("failed", True) if kill == 2 else ("cold", False))
        if kills == 2:
            here.look(32)
            here.report(here.stage.children[0])
            here.look()
            here.end(here.stage.children[0], -9)
    assert "exit code -9, as where memory runs out, while it loaded" in (here.state()[1] or "")


def test_a_killed_load_is_not_told_to_have_no_room(machine: Make) -> None:
    """It may need more than was thought, but not more than what always stays leaves it."""
    always = OWN.model_copy(update={"resident": "always"})
    here = machine(always, NEW, room_mb=250)
    here.look()
    here.report(here.stage.children[0])
    here.look()
    here.end(here.stage.children[1], -9)
    for _ in range(2):
        here.look()
    assert here.state(NEW) == ("loading", None)


def test_a_mistyped_hub_id_evicts_no_model(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the hub has is loaded like others."""

    def check(model: Model) -> None:
        if model.source == "org/tyni":
            raise CommandError(Exit.USAGE, "The hub has no org/tyni")

    monkeypatch.setattr("sightline.serving.node.check_on_hub", check)
    wrong, right = (Model(id=source, source=source, engine="auto") for source in ("org/tyni", "org/tiny"))
    here = machine(OWN, wrong, right, room_mb=ROOM_MB)
    here.look()
    here.report(here.stage.children[0])
    here.submit(wrong)
    for _ in range(4):
        assert here.look(100) == ["worker-org--own"], here.stage.said
    assert here.state(wrong) == ("failed", "The hub has no org/tyni (tried again in 1 s)")
    here.submit(right)
    here.look()
    assert here.look() == []
    assert here.look() == ["worker-org--tiny"]


def test_a_mended_model_that_is_added_again_is_tried_at_once(machine: Make) -> None:
    here = machine()
    for _ in range(5):
        here.look(601)
        here.end(here.stage.children[0], 71)
    here.store.run(remove(OWN.lane))
    here.look()
    here.store.run(add(OWN.lane, None))
    assert here.look() == ["worker-org--own"]


def test_a_model_that_fails_again_and_again_is_tried_ever_more_rarely(machine: Make) -> None:
    here = machine()
    for _ in range(12):
        assert here.look(601) == ["worker-org--own"]
        here.end(here.stage.children[0], 71)
    assert here.look(598) == []


def test_a_crash_of_a_worker_that_was_ready_is_no_failed_load(machine: Make) -> None:
    here = machine()
    here.look()
    child = here.stage.children[0]
    here.report(child)
    here.look()
    here.report(child, "gone")
    here.end(child, -11)
    assert here.look() == ["worker-org--own"]
    assert here.state() == ("loading", None)


def test_one_that_cannot_be_started_ends_no_other(machine: Make) -> None:
    here = machine(OWN, NEW)
    here.stage.refused = "own"
    here.look()
    assert here.look(0.1) == ["worker-org--new"]
    here.stage.refused = ""
    here.report(here.stage.children[0])
    assert here.look() == ["worker-org--new", "worker-org--own"]


def test_a_start_ends_only_where_no_model_is_left_that_can_be_loaded(machine: Make) -> None:
    here = machine(OWN, NEW)
    here.look()
    here.end(here.stage.children[0], 71)
    here.look(0.1)
    assert here.node.failed is None
    here.end(here.stage.children[0], 71)
    assert here.node.failed is not None


def test_a_model_that_is_kept_for_a_time_is_loaded_when_somebody_asks_and_says_why_it_left(
    machine: Make,
) -> None:
    here = machine(OWN.model_copy(update={"keep_alive_s": 1.0}))
    assert here.look() == []
    here.refuse(OWN)
    here.look()
    worker = here.stage.children[0]
    here.report(worker)
    here.look()
    assert here.look(1000) == []
    here.report(worker, "gone")
    here.look()
    [seen] = here.store.run(fleet(here.settings, [OWN.lane]))
    assert seen.lane.unloaded == "nobody asked for it for 1 s"


def test_a_model_that_is_kept_for_no_time_leaves_once_its_first_caller_has_come_back(machine: Make) -> None:
    here = machine(OWN.model_copy(update={"keep_alive_s": 0.0}))
    here.look()
    here.refuse(OWN)
    here.look()
    here.report(here.stage.children[0])
    here.look()
    assert here.look(10) == ["worker-org--own"], "the caller is on the way"
    job = here.submit(OWN).view
    assert job
    here.look()
    here.store.run(cancel(here.settings, "", job.id))
    here.look()
    assert here.look(10) == []


def test_who_asks_a_model_that_leaves_is_not_told_that_it_answers_at_once(machine: Make) -> None:
    """Before its process, which still has work, has said so."""
    here = machine(OWN.model_copy(update={"keep_alive_s": 1.0}))
    here.refuse(OWN)
    here.look()
    here.report(here.stage.children[0])
    here.look()
    here.look(1000)
    assert here.state() == ("cold", None)


def test_a_crash_is_one_of_a_row_only_until_the_model_has_served_and_left(machine: Make) -> None:
    here = machine(OWN.model_copy(update={"keep_alive_s": 1.0}))
    for _ in range(3):
        here.refuse(OWN)
        here.look()
        here.end(here.stage.children[0], -11)
        here.look()
        here.report(here.stage.children[0])
        assert here.look() == ["worker-org--own"]
        here.report(here.stage.children[0], "gone")
        assert here.look(1000) == []
    deaths = [line for line in here.stage.said if "died" in line]
    assert len(deaths) == 3
    assert all("restarting it in 1 s" in line for line in deaths)


def test_an_unloaded_model_comes_back_when_asked_for(machine: Make) -> None:
    """Not before, though its row says that it is always resident, and not on another node."""
    here = machine(OWN.model_copy(update={"resident": "always"}))
    here.look()
    here.report(here.stage.children[0])
    here.look()
    worker = here.stage.children[0]
    here.store.run(change(OWN.lane, "unload", operator="ann"))
    assert here.look() == []
    here.report(worker, "gone")
    assert here.look(1000) == []
    [seen] = here.store.run(fleet(here.settings, [OWN.lane]))
    assert (seen.lane.state, seen.lane.unloaded) == ("cold", "ann unloaded it")
    assert machine(OWN, NEW).look() == ["worker-org--new"]
    here.submit(OWN)
    assert here.look() == ["worker-org--own"]


def test_what_waits_loads_an_unloaded_model_once_more(machine: Make) -> None:
    """Each unloading stops the worker once, also while requests wait that came before it."""
    here = machine()
    here.look()
    here.submit(OWN)
    for _ in range(2):
        here.report(here.stage.children[0])
        here.look()
        worker = here.stage.children[0]
        here.store.run(change(OWN.lane, "unload"))
        assert here.look() == []
        here.report(worker, "gone")
        assert here.look() == ["worker-org--own"]
    assert here.look() == ["worker-org--own"]


def test_who_was_refused_and_comes_back_when_told_finds_the_model_there(machine: Make) -> None:
    """However much longer than a minute that is: nobody else takes its place meanwhile."""
    late = NEW.model_copy(update={"keep_alive_s": 10.0})
    here = machine(late)
    here.look()
    here.refuse(late)
    assert here.look() == ["worker-org--new"]
    here.report(here.stage.children[0])
    assert here.look(50) == ["worker-org--new"], "who was told to come has not come yet"
    assert here.look(100) == [], "and does not come any more"


def test_the_longest_name_of_a_model_is_one_that_its_log_can_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fewer slashes"):
        Model(id="a/" * 99 + "a", engine="echo")
    longest = Model(id="a/" * 40 + "a" * 120, engine="echo")
    log = Plan(Settings(), "redis://127.0.0.1:7000/0", DataFolder(tmp_path)).worker(longest, 1, {}).log
    assert log
    assert len(os.fsencode(f"{log.name}.1")) <= 255, "where it is put by"
