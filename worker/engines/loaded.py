"""A model loaded by transformers, and what every engine on transformers needs to know about it."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image as Picture
from transformers import GenerationConfig

from shared.models import Model
from shared.request import Parameters, Request
from shared.settings import settings
from worker.engines.base import Facts, Prompt, Samples
from worker.engines.language import Language
from worker.engines.packed import pack
from worker.engines.placement import device_of
from worker.engines.pretrained import pretrained
from worker.engines.sampling import generation_config
from worker.engines.threads import use_threads
from worker.engines.weights import model_folder


class LoadedModel(Language):
    """AutoProcessor and AutoModelForImageTextToText. Only `network` must not be used from several threads."""

    def __init__(self, model: Model) -> None:
        """Raises ModelFailed if the source is neither a folder nor on the hub, or has no context length."""
        use_threads(settings().worker.threads)
        folder = model_folder(model)
        processor, network = pretrained(model, folder)
        self.network = network.eval()
        self.packed = pack(network, model)
        super().__init__(model, folder, processor, network.config, network.generation_config)
        if model.cache == "static":
            self.defaults.cache_implementation = "static"

    def prompt(self, request: Request, pictures: Sequence[Picture], sounds: Sequence[Samples] = ()) -> Prompt:
        """Raises CallerError as `worker.engines.base.Engine.prepare` says."""
        self.check(request, pictures)
        prompt = self.renderer.prompt(request, pictures, sounds)
        self.budget(prompt, request.parameters)
        return prompt

    def inputs(self, prompt: Prompt) -> dict[str, Any]:
        """The network's inputs, on its device."""
        return dict(prompt.inputs.to(device_of(self.network), dtype=self.network.dtype))

    def config(self, parameters: Parameters, budget: int) -> GenerationConfig:
        return generation_config(parameters, budget=budget, suppress=self.suppressed, defaults=self.defaults)

    @property
    def words(self) -> str:
        """How the row's wishes were met, for an engine's reason."""
        return "; ".join(filter(None, (self.packed, self.overlong)))

    @property
    def format(self) -> torch.dtype:
        """The type of most computations; only float32 gives the same answers whatever rows are beside."""
        dtype: torch.dtype = self.network.dtype
        return torch.int8 if self.model.packed == "int8" else dtype

    def made_of(self, engine: str) -> Facts:
        return {
            "engine": engine,
            "dtype": str(self.network.dtype),
            **({"packed": "int8"} if self.format is torch.int8 else {}),
            "quantization": json.dumps(self.model.quantization_config, sort_keys=True),
            "attention": self.model.attention,
            "cache": self.model.cache,
            "device": device_of(self.network).type,
            **self.identity(),
        }
