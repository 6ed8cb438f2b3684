"""Creates an engine by name. Each is imported only when needed, so that echo runs without torch."""

from shared.errors import ModelFailed
from shared.models import Model
from worker.engines.base import Engine


def create(model: Model) -> Engine:
    """The engine a model's row names, not yet loaded.

    Raises SettingsError for options it does not know, ModelFailed where a torchvision of another torch is
    installed.
    """
    try:
        return _create(model)
    except (ImportError, RuntimeError):
        from worker.engines.loading.torch_errors import torchvision_broken

        if (fault := torchvision_broken()) is None:
            raise
        raise ModelFailed(f"model {model.id}: {fault}") from None


def _create(model: Model) -> Engine:
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
            from worker.engines.continuous.engine import AutoEngine

            return AutoEngine(model)
