"""One answer at a time by transformers' own `generate()`: slow, and right for every model it can load.

No code here knows a model family. Prompts are prepared by the calling threads meanwhile.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL.Image import Image as Picture

from shared.errors import CallerError, ModelFailed
from shared.length import check_text
from shared.models import Model
from shared.request import Request
from shared.settings import SettingsError, settings
from worker.engines.base import Engine, Finish, ModelFacts, Prompt, Row
from worker.engines.budget import answer_budget
from worker.engines.fingerprint import digest_folder, fingerprint
from worker.engines.gate import Gate
from worker.engines.prompt import Renderer
from worker.engines.sampling import Confidence, LogitsError, Penalties, Replay, Steps, generation_config
from worker.engines.transcript import Transcript
from worker.engines.weights import load_guess, model_folder

# Tokenizers without a limit of their own say 1e30.
SANE_LENGTH = 10**8
# Cleaning up spaces rewrites at most the four characters of " n't".
CLEAN_UP_REACH = 4
# What a caller may bend the model's logits with.
LOGITS = ("repetition_penalty", "temperature", "frequency_penalty", "presence_penalty")


class SequentialEngine(Engine):
    """AutoProcessor and AutoModelForImageTextToText behind a lock.

    Seeds use torch's process-wide generator, as `generate()` does: one such engine per process.
    """

    name = "sequential"
    rows = 1

    def __init__(self, model: Model) -> None:
        if model.options:
            raise SettingsError(f"model {model.id}: the engine sequential takes no options")
        self._model = model
        self._gate = Gate(self.rows)

    def load(self) -> None:
        """Raises ModelFailed where the source is neither a folder nor on the hub, or has no known length."""
        torch.set_num_threads(settings().worker.threads)
        folder = model_folder(self._model)
        remote = self._model.trust_remote_code
        processor = transformers.AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            folder, trust_remote_code=remote
        )
        network: Any = transformers.AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=self._model.dtype,
            attn_implementation=self._model.attention,
            trust_remote_code=remote,
        )
        self._network = network.to(_device(self._model.device)).eval()
        self._tokenizer: Any = processor.tokenizer
        self._renderer = Renderer(processor, network.config)
        self._facts = self._read_facts()
        self._fingerprint = self._read_fingerprint(folder)

    def load_guess(self) -> tuple[float, str]:
        return load_guess(self._model)

    @property
    def facts(self) -> ModelFacts:
        return self._facts

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def prepare(self, request: Request, pictures: Sequence[Picture]) -> Prompt:
        check_text(request, settings().api.text_limit_kb)
        prompt = self._renderer.prompt(request, pictures)
        self._budget(prompt, request.parameters.max_new_tokens)
        return prompt

    def generate(self, row: Row) -> Finish:
        """Raises Cancelled, and LogitsError where the model computes nonsense by itself."""
        with self._gate.enter(row.cancel), torch.inference_mode():
            try:
                return self._generate(row)
            except LogitsError:
                name = next((n for n in LOGITS if getattr(row.parameters, n) is not None), None)
                if name is None:
                    raise
                message = f"With this {name} the model's probabilities are no numbers any more."
                raise CallerError("invalid_request", message, param=name) from None

    def idle_s(self) -> float:
        return self._gate.idle_s()

    @property
    def longest_step_s(self) -> float:
        return self._gate.longest_s

    def _generate(self, row: Row) -> Finish:
        parameters = row.parameters
        budget = self._budget(row.prompt, parameters.max_new_tokens)
        transcript, confidence = Transcript(row, self._decode, unsettled=self._unsettled()), Confidence()
        config = generation_config(
            parameters,
            budget=budget,
            suppress=self._suppressed(),
            defaults=self._network.generation_config,
        )
        if config.do_sample:
            torch.seed() if parameters.seed is None else torch.manual_seed(parameters.seed)
        penalties = Penalties(parameters.frequency_penalty or 0, parameters.presence_penalty or 0)
        self._network.generate(
            **row.prompt.inputs.to(self._network.device, dtype=self._network.dtype),
            generation_config=config,
            logits_processor=[confidence, penalties, Replay(row.published)],
            stopping_criteria=[Steps(row, transcript, confidence, self._gate.tick)],
            tokenizer=self._tokenizer,
        )
        ended = len(transcript.ids) < budget or transcript.ids[-1] in self._end_ids()
        return transcript.finish("stop" if ended else "length", confidence.score)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _unsettled(self) -> int:
        return CLEAN_UP_REACH if self._tokenizer.clean_up_tokenization_spaces else 0

    def _end_ids(self) -> set[int]:
        ids = self._network.generation_config.eos_token_id
        return set(ids) if isinstance(ids, list) else {ids}

    def _suppressed(self) -> set[int]:
        """A picture's placeholder in an answer would claim a picture when the answer is sent back."""
        return set(self._renderer.placeholder_ids) - self._end_ids()

    def _budget(self, prompt: Prompt, wanted: int | None) -> int:
        return answer_budget(
            wanted,
            default=self._model.max_new_tokens,
            prompt_tokens=prompt.tokens,
            context_length=self._facts.context_length,
        )

    def _read_facts(self) -> ModelFacts:
        text = self._network.config.get_text_config()
        own = [getattr(text, "max_position_embeddings", None), self._tokenizer.model_max_length]
        lengths = [int(n) for n in own if n is not None and n < SANE_LENGTH]
        if not lengths and self._model.context_length is None:
            raise ModelFailed(f"model {self._model.id}: its files name no length; set context_length")
        return ModelFacts(
            context_length=self._model.context_length or min(lengths),
            samples=bool(self._network.generation_config.do_sample),
            has_chat_template=bool(self._renderer.template),
        )

    def _read_fingerprint(self, folder: Path) -> str:
        return fingerprint(
            engine=self.name,
            files=digest_folder(folder),
            dtype=str(self._network.dtype),
            attention=self._model.attention,
            device=self._network.device.type,
            context_length=self._facts.context_length,
            max_new_tokens=self._model.max_new_tokens,
            max_side=settings().pictures.max_side,
            torch=torch.__version__,
            transformers=transformers.__version__,
        )


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
