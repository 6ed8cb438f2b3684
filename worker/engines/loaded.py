"""A model in memory, and what every engine on transformers needs to know of it."""

import json
from collections.abc import Sequence
from typing import Any

import llguidance
import torch
import transformers
from llguidance import LLMatcher
from PIL.Image import Image as Picture
from transformers import GenerationConfig

from shared.errors import CallerError, ModelFailed
from shared.length import check_text
from shared.models import Model
from shared.request import Parameters, Request
from shared.settings import settings
from worker.engines.base import ModelFacts, Prompt, Row
from worker.engines.budget import answer_budget
from worker.engines.fingerprint import digest_folder, fingerprint
from worker.engines.grammar import Grammars
from worker.engines.packed import pack
from worker.engines.pretrained import pretrained
from worker.engines.prompt import Renderer
from worker.engines.sampling import generation_config
from worker.engines.threads import use_threads
from worker.engines.token_names import TokenNames
from worker.engines.transcript import Transcript
from worker.engines.weights import model_folder

# Tokenizers without a limit of their own say 1e30.
SANE_LENGTH = 10**8
# Cleaning up spaces rewrites at most the four characters of " n't".
CLEAN_UP_REACH = 4


class LoadedModel:
    """AutoProcessor and AutoModelForImageTextToText; all but `network` may be used from several threads."""

    def __init__(self, model: Model) -> None:
        """Raises ModelFailed where the source is neither a folder nor on the hub, or has no known length."""
        use_threads(settings().worker.threads)
        folder = model_folder(model)
        processor, network = pretrained(model, folder)
        self.model = model
        self.network = network.eval()
        self.packed = pack(network, model)
        if model.cache == "static":
            network.generation_config.cache_implementation = "static"
        self.tokenizer: Any = processor.tokenizer
        self.renderer = Renderer(processor, network.config)
        self.facts = self._read_facts()
        self._names = TokenNames(self.tokenizer)
        self._grammars = Grammars(self.tokenizer, self.end_ids)
        self._files = digest_folder(folder)
        self._max_side = settings().pictures.max_side
        # With torchvision transformers takes other image processors, whose pixels differ a little.
        self._pixels = type(getattr(processor, "image_processor", None)).__name__

    def prompt(self, request: Request, pictures: Sequence[Picture]) -> Prompt:
        """Raises CallerError as `worker.engines.base.Engine.prepare` says."""
        check_text(request, settings().api.text_limit_kb)
        self._check_ids(request.parameters)
        prompt = self.renderer.prompt(request, pictures)
        self.budget(prompt, request.parameters)
        return prompt

    def grammar(self, parameters: Parameters) -> LLMatcher | None:
        """Raises CallerError as `worker.engines.base.Engine.grammar` says."""
        return None if parameters.format is None else self._grammars.compile(parameters.format)

    def inputs(self, prompt: Prompt) -> dict[str, Any]:
        """What the network takes, on its device."""
        return dict(prompt.inputs.to(self.network.device, dtype=self.network.dtype))

    def budget(self, prompt: Prompt, parameters: Parameters) -> int:
        """Tokens the answer may have. Raises CallerError `context_length_exceeded`."""
        return answer_budget(
            parameters,
            default=self.model.max_new_tokens,
            prompt_tokens=prompt.tokens,
            context_length=self.facts.context_length,
        )

    def config(self, parameters: Parameters, budget: int) -> GenerationConfig:
        defaults = self.network.generation_config
        return generation_config(parameters, budget=budget, suppress=self.suppressed, defaults=defaults)

    def transcript(self, row: Row) -> Transcript:
        unsettled = CLEAN_UP_REACH if self.tokenizer.clean_up_tokenization_spaces else 0
        return Transcript(row, self._decode, self._names, unsettled=unsettled)

    @property
    def end_ids(self) -> set[int]:
        ids = self.network.generation_config.eos_token_id
        return set(ids) if isinstance(ids, list) else {ids}

    @property
    def suppressed(self) -> set[int]:
        """A picture's placeholder in an answer would claim a picture when the answer is sent back."""
        own = self.network.generation_config.suppress_tokens or ()
        return {*(self.renderer.placeholder_ids - self.end_ids), *own}

    def fingerprint(self, engine: str) -> str:
        return fingerprint(
            engine=engine,
            files=self._files,
            dtype=str(self.network.dtype),
            quantization=json.dumps(self.model.quantization_config, sort_keys=True),
            attention=self.model.attention,
            cache=self.model.cache,
            device=self.network.device.type,
            context_length=self.facts.context_length,
            max_new_tokens=self.model.max_new_tokens,
            max_side=self._max_side,
            pixels=self._pixels,
            torch=torch.__version__,
            transformers=transformers.__version__,
            llguidance=llguidance.__version__,
        )

    def _check_ids(self, parameters: Parameters) -> None:
        size = self.network.config.get_text_config().vocab_size
        named = {
            "logit_bias": [token for token, _ in parameters.logit_bias or ()],
            "stop_token_ids": parameters.stop_token_ids or (),
        }
        for name, ids in named.items():
            unknown = next((id_ for id_ in ids if id_ >= size), None)
            if unknown is not None:
                message = f"{name} names the token {unknown}, but this model knows 0 to {size - 1}."
                raise CallerError("invalid_request", message, param=name)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _read_facts(self) -> ModelFacts:
        text = self.network.config.get_text_config()
        own = [getattr(text, "max_position_embeddings", None), self.tokenizer.model_max_length]
        lengths = [int(n) for n in own if n is not None and n < SANE_LENGTH]
        if not lengths and self.model.context_length is None:
            raise ModelFailed(f"model {self.model.id}: its files name no length; set context_length")
        return ModelFacts(
            context_length=self.model.context_length or min(lengths),
            samples=bool(self.network.generation_config.do_sample),
            has_chat_template=bool(self.renderer.template),
        )
