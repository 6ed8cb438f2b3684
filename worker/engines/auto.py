"""The best engine that a model can be trusted to: which one is known once it is in memory."""

import logging
from collections.abc import Sequence
from typing import Any

from PIL.Image import Image as Picture

from shared.estimate import Reused
from shared.models import Model
from shared.request import Parameters, Request
from worker.engines.base import Engine, Facts, Finish, ModelFacts, Prompt, Row, Samples
from worker.engines.continuous.engine import ContinuousEngine
from worker.engines.continuous.refusal import Refusal
from worker.engines.loaded import LoadedModel
from worker.engines.sequential import SequentialEngine
from worker.engines.threads import in_passing
from worker.engines.weights import load_guess

log = logging.getLogger(__name__)


class AutoEngine(Engine):
    """Continuous where it certifies the model, else sequential; loads the weights once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._continuous = ContinuousEngine(model)

    def load(self) -> None:
        """Raises ModelFailed."""
        in_passing(self._load)

    def _load(self) -> None:
        loaded = LoadedModel(self._model)
        self._engine: ContinuousEngine | SequentialEngine = self._continuous
        try:
            self._continuous.start(loaded)
            self.reason = self._continuous.reason
        except Refusal as refusal:
            self.reason = "; ".join(filter(None, (f"not continuous: {refusal}", loaded.words)))
            log.warning("model %s is served one request at a time: %s", self._model.id, refusal)
            self._engine = SequentialEngine(self._model.model_copy(update={"options": {}}))
            self._engine.start(loaded)
        self.name, self.rows = self._engine.name, self._engine.rows

    def load_guess(self) -> tuple[float, str]:
        return load_guess(self._model)

    @property
    def facts(self) -> ModelFacts:
        return self._engine.facts

    @property
    def fingerprint(self) -> str:
        return self._engine.fingerprint

    @property
    def made_of(self) -> Facts:
        return self._engine.made_of

    def effective(self, prompt: Prompt, parameters: Parameters) -> Parameters:
        return self._engine.effective(prompt, parameters)

    def grammar(self, request: Request, caller: str = "") -> Any:
        return self._engine.grammar(request, caller)

    def prepare(
        self,
        request: Request,
        pictures: Sequence[Picture],
        scope: str | None = "",
        sounds: Sequence[Samples] = (),
    ) -> Prompt:
        return self._engine.prepare(request, pictures, scope, sounds)

    def generate(self, row: Row) -> Finish:
        return self._engine.generate(row)

    def generate_all(self, rows: Sequence[Row]) -> list[Finish]:
        return self._engine.generate_all(rows)

    def idle_s(self) -> float:
        return self._engine.idle_s()

    @property
    def longest_step_s(self) -> float:
        return self._engine.longest_step_s

    @property
    def reused(self) -> Reused | None:
        return self._engine.reused

    @property
    def broken(self) -> bool:
        return self._engine.broken
