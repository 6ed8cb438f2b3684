"""Chooses the engine for a model once it is loaded: continuous if that passes the proof, else sequential."""

import logging

from worker.engines.base import Engine
from worker.engines.continuous.engine import ContinuousEngine
from worker.engines.continuous.kv_cache import BatchingError
from worker.engines.loading.devices import in_own_thread
from worker.engines.loading.loaded import LoadedModel
from worker.engines.sequential import SequentialEngine

log = logging.getLogger("worker.engines")


class AutoEngine(ContinuousEngine):
    """Continuous if it verifies the model; else it gives way to a sequential engine on the same weights."""

    def load(self) -> Engine:
        """Raises ModelFailed."""
        return in_own_thread(self._choose)

    def _choose(self) -> Engine:
        loaded = LoadedModel(self._model)
        try:
            self.start(loaded)
        except BatchingError as refusal:
            return self._given_way(loaded, refusal)
        return self

    def _given_way(self, loaded: LoadedModel, refusal: BatchingError) -> Engine:
        log.warning("model %s is served one request at a time: %s", self._model.id, refusal)
        engine = SequentialEngine(self._model.model_copy(update={"options": {}}))
        engine.start(loaded)
        engine.reason = "; ".join(filter(None, (f"not continuous: {refusal}", engine.reason)))
        return engine
