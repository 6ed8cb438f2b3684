"""A model loaded by transformers, and what every engine on transformers needs to know about it."""

import json
import logging
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from transformers import BatchFeature, GenerationConfig

from shared.errors import CallerError
from shared.models import Model
from shared.request import Parameters, Request
from shared.settings import settings
from worker.engines.base import (
    Engine,
    Facts,
    Images,
    ModelFacts,
    Prompt,
    Scope,
    Sounds,
    VideoFacts,
    Videos,
    digest_facts,
)
from worker.engines.loading.devices import device_of, use_threads
from worker.engines.loading.language import Language
from worker.engines.loading.model_folder import load_guess, model_folder
from worker.engines.loading.packing import pack
from worker.engines.loading.pretrained import pretrained
from worker.engines.loading.torch_errors import UNFIT, device_broken, out_of_memory
from worker.engines.sampling.processors import generation_config

log = logging.getLogger("worker.engines.loading")
SWITCH_S = 0.0005
"""How long threads of this process may keep Python's lock from the one that queues a GPU's work. 16 callers
of a small model on an H100 got 2,912 tokens/s instead of 2,376 with Python's 5 ms, and their first text after
230 ms instead of 336."""


class LoadedModel(Language):
    """AutoProcessor and AutoModelForImageTextToText. Only `network` must not be used from several threads."""

    def __init__(self, model: Model) -> None:
        """Raises ModelFailed if the source is neither a folder nor on the hub, or has no context length."""
        use_threads(settings().worker.threads)
        folder = model_folder(model)
        processor, network = pretrained(model, folder)
        self.network = network.eval()
        if network.dtype is torch.float32:
            # By default a GPU's convolutions round it to 10 bits, and a picture's otherwise beside another's.
            torch.backends.cudnn.allow_tf32 = False
        # It plans anew for each length, which takes longer than all else of a step.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.packed = pack(network, model)
        super().__init__(model, folder, processor, network.config, network.generation_config)
        if device_of(network).type != "cpu":
            sys.setswitchinterval(SWITCH_S)
        if model.cache == "static":
            self.defaults.cache_implementation = "static"

    def prompt(self, request: Request, pictures: Images, sounds: Sounds = (), videos: Videos = ()) -> Prompt:
        """Raises CallerError as `worker.engines.base.Engine.prepare` says."""
        self.check(request, pictures)
        prompt = self.renderer.prompt(request, pictures, sounds, videos)
        self.budget(prompt, request.parameters)
        return prompt

    def try_videos(self, answer: Callable[[int], object]) -> None:
        """Ask about a video beside no picture, and beside one; what it fails with is refused from now on."""
        video = self.renderer.video_input
        if video.takes and _fails(answer, 0):
            video.takes = False
            self.facts = replace(self.facts, videos=False)
        elif video.takes and _fails(answer, 1):
            video.excludes_pictures = True

    def moved(self, inputs: Any) -> dict[str, Any]:
        """What a prompt's `inputs` hold, on the network's device and in its format."""
        # A copy: `to` changes what it is called on, and a prompt would keep its pixels on the device.
        return dict(BatchFeature(dict(inputs)).to(device_of(self.network), dtype=self.network.dtype))

    def config(self, parameters: Parameters, budget: int) -> GenerationConfig:
        return generation_config(parameters, budget=budget, suppress=self.suppressed, defaults=self.defaults)

    @property
    def words(self) -> str:
        """How the row's wishes were met, for an engine's reason."""
        return "; ".join(filter(None, (self.packed, self.overlong)))

    def made_of(self, engine: str) -> Facts:
        return {
            "engine": engine,
            "dtype": str(self.network.dtype),
            "quantization": json.dumps(self.model.quantization_config, sort_keys=True),
            "attention": self.model.attention,
            "cache": self.model.cache,
            "device": device_of(self.network).type,
            **self.identity(),
        }


def _fails(answer: Callable[[int], object], pictures: int) -> bool:
    try:
        answer(pictures)
    except CallerError:
        # Its callers are refused, too.
        return False
    except UNFIT as error:
        if out_of_memory(error) or device_broken(error):
            raise
        log.debug("the model fails with a video beside %d pictures: %s", pictures, error)
        return True
    return False


class LoadedEngine(Engine):
    """An engine on transformers: it loads a model (`load`), or takes over a loaded one (`start`)."""

    _loaded: LoadedModel

    def __init__(self, model: Model) -> None:
        self._model = model
        self._unborne: dict[int, str] = {}
        """Why the model cannot take a request, by its number of pictures; with 2 it is for more as well."""

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
        return digest_facts(**self._loaded.made_of(self.name))

    def effective(self, prompt: Prompt, parameters: Parameters) -> Parameters:
        return self._loaded.effective(prompt, parameters)

    def grammar(self, request: Request, caller: str = "") -> Any:
        return self._loaded.grammar(request, caller)

    def prepare(
        self,
        request: Request,
        pictures: Images,
        scope: Scope = "",  # noqa: ARG002
        sounds: Sounds = (),
        videos: Videos = (),
    ) -> Prompt:
        # Words with other media were not tried.
        if (pictures or not (sounds or videos)) and (why := self._unborne.get(min(len(pictures), 2))):
            message = f"This model cannot take the request: {why}."
            raise CallerError("invalid_request", message, param="messages")
        return self._loaded.prompt(request, pictures, sounds, videos)

    def sample(self, parameters: Parameters, video: VideoFacts) -> Sequence[int]:
        return self._loaded.renderer.video_input.sample(parameters, video)
