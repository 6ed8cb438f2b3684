"""The engine with in-flight batching: requests decode together and join and leave at any step.

No code here knows a model family. `verify` tries each model at load and refuses one that computes a row in a
batch differently from the same request by itself.
"""

import logging
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from pydantic import Field

from shared.cgroup import free_memory_bytes
from shared.errors import ModelFailed
from shared.models import Model
from shared.request import Frozen, Request
from worker.engines.base import Engine, Finish, Images, Prompt, Row, Scope, Sounds, Videos, read_options
from worker.engines.continuous.attention import WASTE
from worker.engines.continuous.kv_cache import BatchingError
from worker.engines.continuous.loop import Loop
from worker.engines.continuous.prompt_content import ContentReader
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.runner import Runner
from worker.engines.continuous.scheduler import BatchCapacity, Pace
from worker.engines.continuous.sequence import SequenceGroup, TokenSequence
from worker.engines.continuous.verify import Certificate, verify
from worker.engines.loading.devices import compute_on, device_of, in_own_thread
from worker.engines.loading.loaded import LoadedEngine, LoadedModel
from worker.engines.sequential import SequentialEngine

log = logging.getLogger("worker.engines.continuous")
# A context length limited by free memory is rounded down to a multiple of this, so that workers agree on it.
CONTEXT_STEP = 1024
# The cache takes this part of the memory that is free once the model is loaded, unless `cache_mb` is set.
SHARE = 0.5
# The cache has a quarter more columns than are in use, and a growing layer's old and new memory coexist.
SLACK = 1.5
# Bytes of a cache without columns, whose rows keep recurrent states alone.
MODEST = 2 * 2**30
# This part of the cache's memory is for what later requests reuse, unless `reuse_mb` is set.
REUSED = 0.25
# At most this much of main memory: it fills up, and other processes need some too.
MOST_REUSED = 2**30


class ContinuousOptions(Frozen):
    """What a models file may say under `options` for this engine."""

    stall_steps: float = Field(
        2,
        gt=0,
        le=1000,
        description="Steps' time that others may wait for new prompts, or 50 ms if more; one step longer "
        "where that ends a prompt.",
    )
    cache_mb: int | None = Field(
        None, ge=1, description="Memory for the cache in MiB; half of what is free by default."
    )
    reuse_mb: int | None = Field(
        None,
        ge=0,
        description="Of that, for what later requests reuse; 0 = none, half at most. By default a quarter, "
        "and no more than 1024 of main memory.",
    )


class ContinuousEngine(LoadedEngine):
    """One thread of its own runs the model; task threads prepare, submit and wait."""

    name = "continuous"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.rows = model.rows
        self._options = read_options(model, ContinuousOptions, self.name)

    def load(self) -> Engine:
        """Raises ModelFailed, also where the model cannot be batched."""
        return in_own_thread(self._load)

    def _load(self) -> Engine:
        loaded = LoadedModel(self._model)
        try:
            self.start(loaded)
        except BatchingError as refusal:
            return self._refused(loaded, refusal)
        return self

    def _refused(self, loaded: LoadedModel, refusal: BatchingError) -> Engine:  # noqa: ARG002
        raise ModelFailed(f"model {self._model.id}: the engine continuous cannot run it: {refusal}") from None

    def start(self, loaded: LoadedModel) -> None:
        """Raises BatchingError; ModelFailed where no request could have the length that the row names."""
        certificate = verify(loaded, reuse=self._options.reuse_mb != 0)
        budget = self._budget(certificate)
        reserve = self._reuse_bytes(budget, loaded) if certificate.reusable.beginnings else 0
        tokens = cache_tokens(certificate.column_bytes, budget - reserve)
        if self._model.context_length and tokens < loaded.facts.context_length:
            reason = f"the cache has room for {tokens} tokens, fewer than its context_length"
            raise ModelFailed(f"model {self._model.id}: {reason}; lower that, or leave it out.")
        loaded.shorten(_within(loaded.facts.context_length, tokens))
        self.reason = _words(certificate, loaded)
        self._loaded = loaded
        runner = Runner(
            loaded.network,
            rows=self.rows,
            tokens=tokens,
            waste=WASTE if certificate.groups else None,
            captures=certificate.captured,
        )
        self._reuse = ReuseCache(loaded, certificate.cut_points, reserve)
        self._reader = ContentReader(loaded, certificate.reusable)
        capacity, pace = BatchCapacity(self.rows, tokens), Pace(self._options.stall_steps)
        self._loop = Loop(
            loaded, runner, self._reuse, capacity, pace, flat=certificate.flat, mixes=certificate.mixes
        )
        self.progress = self._loop.progress
        self._loop.start()
        weakref.finalize(self, self._loop.stop)
        log.info("model %s: %s, cache for %d tokens", self._model.id, self.reason, tokens)

    def prepare(
        self, request: Request, pictures: Images, scope: Scope = "", sounds: Sounds = (), videos: Videos = ()
    ) -> Prompt:
        compute_on(1)
        prompt = super().prepare(request, pictures, scope, sounds, videos)
        files = [part.name for part in request.shown]
        return replace(prompt, inputs=self._reader.content(prompt, pictures, scope, sounds, videos, files))

    def generate(self, row: Row) -> Finish:
        """Raises Cancelled, DeviceBroken, and LogitsError where the model computes nonsense by itself."""
        return self.generate_all([row])[0]

    def generate_all(self, rows: Sequence[Row]) -> list[Finish]:
        """As `generate`, for rows with one prompt: they wait in line together, and it is computed once."""
        siblings = SequenceGroup()
        return self._loop.submit([TokenSequence(row, self._loaded, siblings) for row in rows])

    @property
    def prompt_s(self) -> float:
        return self._loop.prompt_s

    @property
    def rows_now(self) -> int:
        return self._loop.rows

    @property
    def broken(self) -> bool:
        return bool(self._loop.broken)

    def _budget(self, certificate: Certificate) -> int:
        """Bytes for the rows and for what is kept."""
        megabytes = self._options.cache_mb
        return cache_budget(certificate.column_bytes) if megabytes is None else megabytes * 2**20

    def _reuse_bytes(self, budget: int, loaded: LoadedModel) -> int:
        """Bytes of these for what is kept."""
        megabytes = self._options.reuse_mb
        if megabytes is not None:
            return min(megabytes * 2**20, budget // 2)
        share = int(REUSED * budget)
        return min(share, MOST_REUSED) if device_of(loaded.network).type == "cpu" else share


def cache_tokens(column_bytes: Mapping[torch.device, int], budget: int) -> int:
    """Tokens of cache that `budget` bytes hold."""
    return int(budget / SLACK) // max(1, sum(column_bytes.values()))


def cache_budget(column_bytes: Mapping[torch.device, int]) -> int:
    """Bytes for the cache, of what is free now; each device holds its layers' part: the fullest decides."""
    total = sum(column_bytes.values())
    parts = (int(SHARE * _free(device)) * total // own for device, own in column_bytes.items())
    return min(parts, default=MODEST)


def _free(device: torch.device) -> int:
    if device.type != "cuda":
        return free_memory_bytes(swap=False)
    # The driver counts as taken what torch keeps from loading and from the proof.
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def _within(context_length: int, tokens: int) -> int:
    """The context length that the cache's memory allows.

    Raises BatchingError if it holds not even one token.
    """
    if tokens >= context_length:
        return context_length
    rounded = tokens // CONTEXT_STEP * CONTEXT_STEP or tokens
    if not rounded:
        raise BatchingError("there is no memory for its cache")
    log.warning("the cache's memory holds %d tokens of one request, fewer than the model takes", rounded)
    return rounded


def _words(certificate: Certificate, loaded: LoadedModel) -> str:
    dtype = loaded.network.dtype
    summary = f"certified: beside others its logits differ by {certificate.difference:.0e} at most"
    if dtype is not torch.float32:
        summary += f", which in {str(dtype).removeprefix('torch.')} may change an answer"
    return "; ".join(filter(None, (summary, certificate.words, loaded.words)))


class AutoEngine(ContinuousEngine):
    """Gives way to a sequential engine on the same weights if the model cannot be batched."""

    def _refused(self, loaded: LoadedModel, refusal: BatchingError) -> Engine:
        log.warning("model %s is served one request at a time: %s", self._model.id, refusal)
        engine = SequentialEngine(self._model.model_copy(update={"options": {}}))
        engine.start(loaded)
        engine.reason = "; ".join(filter(None, (f"not continuous: {refusal}", engine.reason)))
        return engine
