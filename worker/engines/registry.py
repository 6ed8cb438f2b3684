"""Creates an engine by name. Each is imported only when needed, so that echo runs without torch."""

import logging

from shared.models import Model
from worker.engines.base import Engine
from worker.engines.continuous.engine import ContinuousEngine
from worker.engines.continuous.errors import Refusal
from worker.engines.loading.devices import in_passing
from worker.engines.loading.loaded import LoadedModel
from worker.engines.sequential import SequentialEngine

# Chooses the engine for a model once it is loaded: continuous if that passes the proof, else sequential.

log = logging.getLogger("worker.engines")


class AutoEngine(ContinuousEngine):
    """Continuous if it certifies the model; else it gives way to a sequential engine on the same weights."""

    def load(self) -> Engine:
        """Raises ModelFailed."""
        return in_passing(self._chosen)

    def _chosen(self) -> Engine:
        loaded = LoadedModel(self._model)
        try:
            self.start(loaded)
        except Refusal as refusal:
            return self._given_way(loaded, refusal)
        return self

    def _given_way(self, loaded: LoadedModel, refusal: Refusal) -> Engine:
        log.warning("model %s is served one request at a time: %s", self._model.id, refusal)
        engine = SequentialEngine(self._model.model_copy(update={"options": {}}))
        engine.start(loaded)
        engine.reason = "; ".join(filter(None, (f"not continuous: {refusal}", engine.reason)))
        return engine


def create(model: Model) -> Engine:
    """The engine a model's row names, not yet loaded. Raises SettingsError for options it does not know."""
    match model.engine:
        case "echo":
            from worker.engines.echo import EchoEngine

            return EchoEngine(model)
        case "sequential":
            from worker.engines.sequential import SequentialEngine

            return SequentialEngine(model)
        case "continuous":
            from worker.engines.continuous.engine import ContinuousEngine

            return ContinuousEngine(model)
        case "vllm":
            from worker.engines.vllm.engine import VllmEngine

            return VllmEngine(model)
        case "auto":
            pass

            return AutoEngine(model)
