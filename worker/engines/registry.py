"""Creates an engine by name. Each is imported only when needed, so that echo runs without torch."""

from importlib import import_module

from shared.errors import ModelFailed
from shared.models import Model
from worker.engines.base import Engine

ENGINES = {
    "auto": ("continuous.engine", "AutoEngine"),
    "continuous": ("continuous.engine", "ContinuousEngine"),
    "echo": ("echo", "EchoEngine"),
    "sequential": ("sequential", "SequentialEngine"),
    "vllm": ("vllm.engine", "VllmEngine"),
}
"""The module and class of each."""


def create(model: Model) -> Engine:
    """The engine a model's row names, not yet loaded.

    Raises SettingsError for options it does not know, ModelFailed where a torchvision of another torch is
    installed.
    """
    module, name = ENGINES[model.engine]
    try:
        kind: type[Engine] = getattr(import_module(f"worker.engines.{module}"), name)
        return kind(model)  # type: ignore[call-arg]
    except (ImportError, RuntimeError):
        from worker.engines.loading.torch_errors import torchvision_broken

        if (fault := torchvision_broken()) is None:
            raise
        raise ModelFailed(f"model {model.id}: {fault}") from None
