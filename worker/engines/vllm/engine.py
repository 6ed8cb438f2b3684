"""The engine that runs vLLM: its batching, cache and kernels, with our prompts and streams."""

import asyncio
import hashlib
import secrets
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image as Picture
from pydantic import Field

from shared.models import Model
from shared.request import Frozen, Parameters, Request
from shared.result import SeenPicture
from shared.settings import SettingsError, settings
from worker.engines.base import (
    Cancelled,
    Engine,
    Facts,
    Finish,
    Images,
    ModelFacts,
    PackedPicture,
    ProgressClock,
    Prompt,
    Row,
    Scope,
    Sounds,
    Videos,
    digest_facts,
    read_options,
    seen,
)
from worker.engines.loading.devices import use_threads
from worker.engines.loading.language import Language
from worker.engines.loading.model_folder import load_guess, model_folder
from worker.engines.loading.pretrained import configs_of
from worker.engines.loading.smoke_test import made_up, try_out
from worker.engines.prompt.template_errors import refused_by_template
from worker.engines.row_limit import CANCEL_POLL_S
from worker.engines.sampling.processors import ngram_size
from worker.engines.vllm.answer import VllmAnswer
from worker.engines.vllm.core import Core, require
from worker.engines.vllm.sampling import Constraint, check, form, sampling

# Fields of a row that concern transformers only.
NOT_ITS = ("quantization_config", "packed", "attention", "cache", "device", "device_map")
MOST_LOGPROBS = 20

# Seconds to import vLLM and start its processes, before any weights are read.
START_S = 30.0
# Requests that use each part of vLLM once at load, so that no caller waits for its first use.
TRIED = (
    Parameters(max_new_tokens=8, min_new_tokens=8),
    Parameters(
        max_new_tokens=8,
        min_new_tokens=8,
        temperature=1.0,
        top_p=0.9,
        min_p=0.01,
        repetition_penalty=1.1,
        presence_penalty=0.1,
        seed=1,
        logprobs=1,
    ),
)
# A whole prompt may be one step, which is silent for the rows beside it, too.
PROMPT_STEPS = 10
# Answers to each, together for some steps: vLLM has CUDA graphs for 2 and 4 rows, and pads 3.
ANSWERS_TRIED = 3


class VllmOptions(Frozen):
    """What a models file may say under `options` for this engine; vLLM's own names where it has one."""

    cache_mb: int | None = Field(
        None, ge=1, description="Memory for the cache in MiB; what is left of the share by default."
    )
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="Share of the device's memory, on a CPU of main memory."
    )
    tensor_parallel_size: int = Field(1, ge=1, description="Devices that one model is spread over.")
    max_num_batched_tokens: int | None = Field(
        None, ge=1, description="Tokens of one step, prompts included."
    )
    quantization: str | None = Field(None, description="Method, where the model's files do not name it.")
    enforce_eager: bool = Field(False, description="Compile nothing: a faster start, slower steps.")


def refuse_others(model: Model) -> None:
    """Raises SettingsError for fields that mean nothing to this engine."""
    names = [name for name in NOT_ITS if name in model.model_fields_set]
    if names:
        raise SettingsError(
            f"model {model.id}: {', '.join(names)}: not for the engine vllm; it decides for itself, "
            f"or by its options ({', '.join(VllmOptions.model_fields)})"
        )


def arguments(
    model: Model, options: VllmOptions, *, folder: Path, context_length: int, pictures: int
) -> dict[str, Any]:
    """What AsyncEngineArgs is given. `pictures` is how many one request may have."""
    fields = options.model_dump(exclude_none=True)
    if options.cache_mb is not None:
        fields["kv_cache_memory_bytes"] = fields.pop("cache_mb") * 2**20
    return {
        "model": str(folder),
        "dtype": model.dtype,
        "max_num_seqs": model.rows,
        "max_model_len": context_length,
        "trust_remote_code": model.trust_remote_code,
        "limit_mm_per_prompt": {"image": pictures, "video": 0},
        # vLLM keeps this cache twice, in step with the order of prompts; ours come from many threads.
        "mm_processor_cache_gb": 0,
        "max_logprobs": MOST_LOGPROBS,
        "disable_log_stats": True,
        **fields,
    }


class VllmEngine(Engine):
    """Task threads prepare prompts and wait; the event loop hands each row to vLLM."""

    name = "vllm"
    # With a seed vLLM may not compute prompts in chunks, and its order of work changes the last digits.
    repeatable = False

    def __init__(self, model: Model) -> None:
        refuse_others(model)
        self.rows = model.rows
        self._model = model
        self._options = read_options(model, VllmOptions, self.name)
        self.progress = ProgressClock()
        self._places = asyncio.Semaphore(model.rows)
        self._tasks: dict[asyncio.Task[Finish], Row] = {}
        self._watch: asyncio.Task[None] | None = None
        # Rows at work that have no token yet.
        self._prefilling: set[int] = set()
        self._inside = 0

    def load(self) -> Engine:
        """Raises ModelFailed, and whatever vLLM raises."""
        require(self._model.id)
        use_threads(settings().worker.threads)
        folder = model_folder(self._model)
        self._language = Language(self._model, folder, *configs_of(self._model, folder))
        options = arguments(
            self._model,
            self._options,
            folder=folder,
            context_length=self.facts.context_length,
            pictures=self._model.max_pictures or settings().pictures.max_count,
        )
        self._core = Core(options, torch.get_num_threads())
        self.close = weakref.finalize(self, self._core.close)
        self.reason = f"vLLM {self._core.version}; {self._tried()}"
        return self

    def load_guess(self) -> tuple[float, str]:
        seconds, basis = load_guess(self._model)
        return START_S + seconds, basis

    @property
    def facts(self) -> ModelFacts:
        """Without sounds and videos, which are not passed to vLLM."""
        return replace(self._language.facts, sampling_rate=0, videos=False)

    @property
    def made_of(self) -> Facts:
        return {
            "engine": self.name,
            "vllm": self._core.version,
            "dtype": self._core.dtype,
            "device": self._core.device,
            **self._options.model_dump(),
            **self._language.identity(),
        }

    @cached_property
    def fingerprint(self) -> str:
        return digest_facts(**self.made_of)

    def effective(self, prompt: Prompt, parameters: Parameters) -> Parameters:
        return self._language.effective(prompt, parameters)

    def grammar(self, request: Request, caller: str = "") -> Constraint | None:
        return form(self._language, request, caller)

    def prepare(
        self,
        request: Request,
        pictures: Images,
        scope: Scope = "",
        sounds: Sounds = (),  # noqa: ARG002
        videos: Videos = (),  # noqa: ARG002
    ) -> Prompt:
        """As the contract says. Without a scope the prompt is kept under a random name, so never reused."""
        self._language.check(request, pictures)
        check(request.parameters)
        ids, trimmed = self._language.renderer.ids(request, pictures)
        # A prompt that is too long even without its pictures is refused before they are processed.
        self._language.budget(Prompt(len(ids), 0, None), request.parameters)
        salt = secrets.token_hex() if scope is None else _digest(scope)
        files = [part.name for part in request.shown]
        names = [_name(*each, salt) for each in zip_longest(pictures, files)]
        with refused_by_template(request):
            inputs = self._core.render(ids, pictures, names, salt)
        ids = inputs["prompt_token_ids"]
        renderer = self._language.renderer
        images = list(ids).count(renderer.image_id)
        syntax, open_ = renderer.template.syntax_of(request), request.ends_open
        prompt = Prompt(
            len(ids),
            images,
            inputs,
            syntax,
            ends_open=open_,
            trimmed=trimmed,
            pictures=len(pictures),
            seen=_seen(pictures, inputs, renderer.image_id),
        )
        self._language.budget(prompt, request.parameters)
        return prompt

    def generate(self, row: Row) -> Finish:
        return self.generate_all([row])[0]

    def generate_all(self, rows: Sequence[Row]) -> list[Finish]:
        """As `generate`, for several rows at once."""
        with self._core.faults():
            return self._core.submit(self._answers(rows)).result()

    def idle_s(self) -> float:
        return super().idle_s() / self._patience

    @property
    def longest_step_s(self) -> float:
        return super().longest_step_s / self._patience

    @property
    def _patience(self) -> int:
        """What times are divided by while a prompt is computed."""
        return PROMPT_STEPS if self._prefilling else 1

    @property
    def broken(self) -> bool:
        return self._core.broken

    async def _answers(self, rows: Sequence[Row]) -> list[Finish]:
        tasks = {asyncio.ensure_future(self._answer(row)): row for row in rows}
        self._tasks |= tasks
        if self._watch is None or self._watch.done():
            self._watch = asyncio.ensure_future(_watch_cancels(self._tasks))
        try:
            return await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            if rows[0].cancel.is_set():
                raise Cancelled from None
            raise
        finally:
            for task in tasks:
                task.cancel()
                del self._tasks[task]

    async def _answer(self, row: Row) -> Finish:
        language, parameters = self._language, row.parameters
        wanted = sampling(
            parameters,
            budget=language.budget(row.prompt, parameters),
            # A placeholder may lie outside of the vocabulary, where vLLM takes no bias.
            suppressed=[token for token in language.suppressed if token < self._core.vocabulary],
            published=row.published,
            ngram_size=ngram_size(row, language.defaults),
            defaults=language.defaults,
        )
        drawn = self._core.generate(row.prompt.inputs, wanted, row.grammar and row.grammar.params)
        async with self._places, aclosing(drawn) as outputs:
            row.on_begin()
            with self._working(row):
                answer = VllmAnswer(row, language.transcript(row), language.end_ids)
                if row.cancel.is_set():
                    raise Cancelled
                async for output in outputs:
                    self.progress.tick()
                    self._prefilling.discard(id(row))
                    if answer.take(output):
                        break
                return answer.finish()

    @contextmanager
    def _working(self, row: Row) -> Iterator[None]:
        if not self._inside:
            self.progress.start()
        self._inside += 1
        self._prefilling.add(id(row))
        try:
            yield
        finally:
            self._inside -= 1
            self._prefilling.discard(id(row))
            if not self._inside:
                self.progress.rest()

    def _tried(self) -> str:
        """Use each part of vLLM once, so that no caller waits while it compiles.

        Returns whether vLLM makes the same of a prompt as transformers does, in words.
        """
        for parameters in TRIED:
            if refusal := try_out(self, self._model.id, parameters, ANSWERS_TRIED):
                return f"not tried out: {refusal.message}"
        self.progress = ProgressClock()
        request, pictures = made_up(self._model.id, TRIED[0])
        mine = self.prepare(request, pictures).inputs["prompt_token_ids"]
        theirs = self._language.renderer.prompt(request, pictures).inputs["input_ids"][0].tolist()
        return f"prompts are {'' if list(mine) == theirs else 'not '}those of transformers"


async def _watch_cancels(tasks: dict[asyncio.Task[Finish], Row]) -> None:
    """Ends rows that are cancelled, also while no token comes: one look for all of them.

    It does not hold the engine, which may go meanwhile.
    """
    while tasks:
        for task, row in tasks.items():
            if row.cancel.is_set():
                task.cancel()
        await asyncio.sleep(CANCEL_POLL_S)


def _seen(pictures: Images, inputs: Mapping[str, Any], image_id: int | None) -> tuple[SeenPicture, ...]:
    """In the sizes in which vLLM got them; it tells where each picture's tokens stand."""
    ids = list(inputs["prompt_token_ids"])
    places = (inputs.get("mm_placeholders") or {}).get("image", ())
    counts = [ids[place.offset : place.offset + place.length].count(image_id) for place in places]
    return seen(pictures, [picture.size for picture in pictures], counts)


def _name(picture: Picture, file: str | None, salt: str) -> str:
    """The name under which vLLM keeps a picture: of its file, else of its pixels, and its scope's salt."""
    packed = picture.pixels if isinstance(picture, PackedPicture) else None
    content = file or hashlib.sha256(packed or picture.tobytes()).hexdigest()
    return _digest(f"{content} {picture.size} {salt}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
