"""The workers of `sightline run`: one for each model that is served, also where that changes meanwhile."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from shared.errors import Unavailable
from shared.models import Model
from shared.registry import Registry
from shared.store.models import registered
from shared.store.script import Store
from sightline.child import Child
from sightline.exits import CommandError
from sightline.memory import check_memory
from sightline.plan import Plan
from sightline.supervisor import Supervisor

LOOK_S = 1.0


class Workers:
    """Started and stopped under the supervisor."""

    def __init__(
        self, supervisor: Supervisor, plan: Plan, registry: Registry, store: Store, say: Callable[[str], None]
    ) -> None:
        self._supervisor = supervisor
        self._plan = plan
        self._registry = registry
        self._store = store
        self._say = say
        self._children: dict[str, Child] = {}
        self._too_large: set[str] = set()

    def look(self) -> None:
        """What operators added and removed. Raises Unavailable."""
        self._registry.take(self._store.run(registered()))

    def start(self) -> None:
        """Start those that are missing. Raises CommandError."""
        for model in self._registry.models.rows:
            if model.lane not in self._children and self._fits(model):
                self._children[model.lane] = self._supervisor.start(self._plan.worker(model))
                self._say(f"worker   {model.id} ({model.engine})")

    async def follow(self) -> None:
        """Go on starting and stopping; never ends by itself. Raises CommandError."""
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(Unavailable):
                await asyncio.to_thread(self.look)
                served = {model.lane for model in self._registry.models.rows}
                for lane in self._children.keys() - served:
                    child = self._children.pop(lane)
                    self._say(f"{child.command.name} is stopped: its model was removed")
                    await self._supervisor.end(child)
                self.start()

    def _fits(self, model: Model) -> bool:
        """What the models file names was looked at together, before anything was started."""
        if not self._children or self._registry.has_row(model):
            return True
        try:
            check_memory([model])
        except CommandError as error:
            if model.lane not in self._too_large:
                self._say(f"worker   {model.id} is not started yet: {error}")
            self._too_large.add(model.lane)
            return False
        self._too_large.discard(model.lane)
        return True
