"""The part of an engine that all engines on transformers share."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from PIL.Image import Image as Picture

from shared.models import Model
from shared.request import Parameters, Request
from worker.engines.base import Engine, Facts, ModelFacts, Prompt, Samples
from worker.engines.fingerprint import fingerprint
from worker.engines.loaded import LoadedModel
from worker.engines.weights import load_guess


class LoadedEngine(Engine):
    """Loads a model itself (`load`), or takes over one that another engine has loaded (`start`)."""

    _loaded: LoadedModel

    def __init__(self, model: Model) -> None:
        self._model = model

    @abstractmethod
    def start(self, loaded: LoadedModel) -> None:
        """Take over a model that is in memory."""

    def load_guess(self) -> tuple[float, str]:
        return load_guess(self._model)

    @property
    def facts(self) -> ModelFacts:
        return self._loaded.facts

    @property
    def made_of(self) -> Facts:
        return {"revision": self._model.revision, **self._loaded.made_of(self.name)}

    @cached_property
    def fingerprint(self) -> str:
        """Over the files, not over the revision, which is only a name."""
        return fingerprint(**self._loaded.made_of(self.name))

    def effective(self, prompt: Prompt, parameters: Parameters) -> Parameters:
        return self._loaded.effective(prompt, parameters)

    def grammar(self, request: Request, caller: str = "") -> Any:
        return self._loaded.grammar(request, caller)

    def prepare(
        self,
        request: Request,
        pictures: Sequence[Picture],
        scope: str | None = "",  # noqa: ARG002
        sounds: Sequence[Samples] = (),
    ) -> Prompt:
        return self._loaded.prompt(request, pictures, sounds)
