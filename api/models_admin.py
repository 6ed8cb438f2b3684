"""The models that this process serves; operators add, pause, drain, unload and remove them."""

import asyncio
import logging
from contextlib import suppress

from api.auth.callers import log_action
from shared.api_keys import Operator
from shared.errors import CallerError, Unavailable
from shared.models import Model, Models
from shared.registry import Registry
from shared.store import models as transitions
from shared.store.script import AsyncStore

log = logging.getLogger("api")
LOOK_S = 1.0
"""A change made at another API process is known here after this long."""


class LiveModels:
    """Polls the store for changes; those made through this process take effect here at once."""

    def __init__(self, models: Models, store: AsyncStore) -> None:
        self._registry = Registry(models)
        self._store = store
        self._polling: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the models before the first call is served, if the store can be reached."""
        with suppress(Unavailable):
            await self._refresh()
        self._polling = asyncio.create_task(self._poll(), name="models")

    async def aclose(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling

    async def add(self, operator: Operator, model: Model) -> bool:
        """Serve a model; whether that is new. Raises CallerError `model_exists`, Unavailable."""
        row = None if self._registry.has_row(model) else model.model_dump_json(exclude_defaults=True)
        if not self._registry.agrees(model):
            raise CallerError("model_exists", "A model is known by this id, or one much like it.", param="id")
        outcome = await self._store.run(transitions.add(model.lane, row))
        if outcome == "conflict":
            raise CallerError("model_exists", "The model is served with another row.", param="id")
        log_action(operator, "model.add", model.id)
        await self._refresh()
        return outcome == "added"

    async def change(self, operator: Operator, name: str, change: transitions.Change) -> None:
        """Pause, resume, drain or unload a model. Raises CallerError, Unavailable."""
        model = self._registry.models.resolve(name)
        await self._store.run(transitions.change(model.lane, change, operator=operator.name))
        log_action(operator, f"model.{change}", model.id)

    async def remove(self, operator: Operator, name: str) -> None:
        """Stop serving a model; harmless if repeated. Raises CallerError, Unavailable."""
        model = self._registry.all.resolve(name)
        await self._store.run(transitions.remove(model.lane, operator=operator.name))
        log_action(operator, "model.remove", model.id)
        await self._refresh()

    async def _refresh(self) -> None:
        registrations = await self._store.run(transitions.registrations())
        # It may read the folders of new models.
        await asyncio.to_thread(self._registry.take, registrations)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._refresh()
            except Unavailable:
                continue
            except Exception:
                # The outermost frame of a round: one bad row must not end the polling.
                log.exception("what models are served could not be read")
