"""The workers of `sightline run`: one for each model served, started and stopped as that changes."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from shared.errors import Unavailable
from shared.models import Model
from shared.registry import Registry
from shared.store.models import registered
from shared.store.script import Store
from sightline.exits import CommandError
from sightline.serving.child import Child
from sightline.serving.memory import check_memory
from sightline.serving.plan import Plan
from sightline.serving.supervisor import Supervisor

LOOK_S = 1.0
MODEL_FAILED = 71
"""Exit code of a worker that cannot load its model (docs/fleet.md)."""


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
        self._children: dict[str, tuple[Model, Child]] = {}
        self._put_off: set[str] = set()

    def refresh(self) -> None:
        """Read which models operators added and removed. Raises Unavailable."""
        self._registry.take(self._store.run(registered()))

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
        """Workers that could not load their model, which ends no others; empty if all of them could not."""
        children = [child for _, child in self._children.values()]
        failed = [child for child in children if child.exit_code == MODEL_FAILED]
        return failed if len(failed) < len(children) else []

    async def follow(self) -> None:
        """Keep starting and stopping workers as models change; never ends by itself."""
        while True:
            with suppress(Unavailable):
                await asyncio.to_thread(self.refresh)
                await self._stop_removed()
                self._start_missing()
            await asyncio.sleep(LOOK_S)

    def _start(self, model: Model) -> None:
        self._children[model.lane] = model, self._supervisor.start(self._plan.worker(model))
        self._say(f"worker   {model.id} ({model.engine})")

    async def _stop_removed(self) -> None:
        """Stop workers of removed models, also of one that was added again with another row meanwhile."""
        for lane, (model, child) in tuple(self._children.items()):
            if model not in self._registry.models.rows:
                del self._children[lane]
                self._say(f"{child.command.name} is stopped: its model was removed")
                await self._supervisor.end(child)

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
