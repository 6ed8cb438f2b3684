"""The workers of `sightline run`: one for each model served, started and stopped as that changes."""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from shared import ids
from shared.errors import Unavailable
from shared.fleet import Fleet
from shared.models import Model
from shared.registry import Registry
from shared.store.models import registrations
from shared.store.script import Store
from shared.store.workers import State, beat, fleet
from sightline.exits import CommandError
from sightline.serving.child import Child
from sightline.serving.memory import check_memory
from sightline.serving.plan import Plan
from sightline.serving.supervisor import Supervisor

LOOK_S = 1.0
STARTING = {"load_passed_ms": "0"}
"""What is reported of a load that begins."""
OWN_EXITS = range(70, 76)
"""Exit codes of workers that reported why they end (docs/fleet.md)."""


class Workers:
    """Starts and stops workers under the supervisor."""

    def __init__(
        self, supervisor: Supervisor, plan: Plan, registry: Registry, store: Store, say: Callable[[str], None]
    ) -> None:
        self._supervisor = supervisor
        self._plan = plan
        self._registry = registry
        self._store = store
        self._say = say
        self._children: dict[str, tuple[Model, list[Child]]] = {}
        self._put_off: set[str] = set()
        self._reasons: dict[str, str] = {}
        self._announced: dict[Child, str] = {}
        self._reported: dict[Child, int] = {}
        self._reports: set[asyncio.Task[None]] = set()

    def refresh(self) -> None:
        """Read which models operators added and removed. Raises Unavailable."""
        self._registry.take(self._store.run(registrations()))

    def start(self) -> tuple[Model, ...]:
        """Start workers for the models of the models file; returns those models. Raises CommandError.

        Models added by operators wait until the service serves: before that nobody could remove a bad one.
        """
        own = tuple(model for model in self._registry.models.rows if self._registry.has_row(model))
        for model in own:
            self._start(model)
        for model in self._registry.removed_rows():
            back = f"sightline models add FILE --model {model.id}"
            self._say(f"model    {model.id}: not served, as it was removed; `{back}` brings it back")
        return own

    def failed(self) -> list[Child]:
        """Workers that have ended, which ends no others; empty if no model is left that may be served."""
        failed = [child for child in self._all if child.exit_code is not None]
        started = len(self._registry.models.rows) * len(self._plan.environments)
        return failed if len(failed) < started else []

    @property
    def all_failed(self) -> bool:
        """Whether no worker is left of those started."""
        return all(child.exit_code is not None for child in self._all)

    @property
    def _all(self) -> list[Child]:
        return [child for _, children in self._children.values() for child in children]

    async def follow(self) -> None:
        """Keep starting and stopping workers as models change; never ends by itself."""
        while True:
            with suppress(Unavailable):
                await asyncio.to_thread(self.refresh)
                await self._stop_removed()
                self._start_missing()
                await asyncio.to_thread(self.announce)
            await asyncio.sleep(LOOK_S)

    def _start(self, model: Model) -> None:
        def died(child: Child) -> None:
            report = asyncio.to_thread(self._report, model, child.pid, child.exit_code or 0, child.ending)
            task = asyncio.get_running_loop().create_task(report)
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)

        commands, children = self._plan.workers(model), list[Child]()
        for command in commands:
            children.append(self._supervisor.start(command, died))
            # Where one cannot be started those before it are not started once more.
            self._children[model.lane] = model, children
        count = f", {len(commands)} of them" if len(commands) > 1 else ""
        self._say(f"worker   {model.id} ({model.engine}{count})")

    def announce(self) -> None:
        """Report as loading each worker whose process has not done so itself. Raises Unavailable.

        A process takes seconds to come so far, after a crash up to half a minute, and callers would be told
        that no worker serves the model.
        """
        for model, children in tuple(self._children.values()):
            here = {
                worker.pid for worker in self._fleet(model).workers if worker.host == socket.gethostname()
            }
            for child in children:
                if child.pid in here:
                    self._reported[child] = child.pid
                # A process that hangs has reported itself, and is on its way no more.
                if child.exit_code is not None or self._reported.get(child) != child.pid:
                    worker = self._announced.setdefault(child, ids.worker_id())
                    self._beat(model, worker, "loading", STARTING)
                elif worker := self._announced.pop(child, ""):
                    self._beat(model, worker, "gone", {})

    def _beat(self, model: Model, worker: str, state: State, facts: dict[str, str]) -> None:
        self._store.run(beat(self._plan.settings, worker=worker, lane=model.lane, state=state, facts=facts))

    def _report(self, model: Model, pid: int, exit_code: int, ending: str) -> None:
        """Tell callers, in place of a worker that died while it loaded, and the operator that it did."""
        with suppress(Unavailable):
            if exit_code and exit_code not in OWN_EXITS:
                memory = ", as where memory runs out," if exit_code == -signal.SIGKILL else ""
                self._fail_load(model, pid, f"its process ended with {ending}{memory} while it loaded")
            failed = self._fleet(model).lane.failed
            if failed and self._reasons.get(model.lane) != failed:
                self._reasons[model.lane] = failed
                self._say(f"model    {model.id}: cannot be loaded: {failed}")

    def _fail_load(self, model: Model, pid: int, reason: str) -> None:
        """Report a load that failed; nothing of a process that was ready, or was stopped."""
        here = socket.gethostname()
        for worker in self._fleet(model).workers:
            if (worker.pid, worker.host, worker.state) == (pid, here, "loading"):
                self._beat(model, worker.id, "gone", {"failed": f"{reason}; its log has more"})

    def _fleet(self, model: Model) -> Fleet:
        return self._store.run(fleet(self._plan.settings, [model.lane]))[0]

    async def _stop_removed(self) -> None:
        """Stop workers of removed models, also of one that was added again with another row meanwhile."""
        for lane, (model, children) in tuple(self._children.items()):
            if model not in self._registry.models.rows:
                del self._children[lane]
                self._say(f"{children[0].command.name} is stopped: its model was removed")
                await asyncio.gather(*map(self._supervisor.end, children))

    def _start_missing(self) -> None:
        """A worker that cannot be started is tried again later, and ends no others."""
        for model in self._registry.models.rows:
            if model.lane in self._children:
                continue
            try:
                if not self._registry.has_row(model):
                    # Models of the models file were checked together, before anything was started.
                    check_memory([model])
                self._start(model)
            except CommandError as error:
                if model.lane not in self._put_off:
                    self._say(f"worker   {model.id} is not started yet: {error}")
                self._put_off.add(model.lane)
            else:
                self._put_off.discard(model.lane)
