"""Requests decode together, each as if it were alone; they join and leave at any step.

No code here knows a model family: `certify` tries each model at load, and refuses one that computes anything
else beside others.
"""

import logging
import weakref
from dataclasses import replace

import torch
from pydantic import Field

from shared.errors import ModelFailed
from shared.models import Model
from shared.request import Frozen
from worker.engines.base import Finish, ModelFacts, Row
from worker.engines.continuous.answer import Answer
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.certify import Certificate, certify
from worker.engines.continuous.loop import Loop
from worker.engines.continuous.pace import Pace
from worker.engines.continuous.ration import Ration, cache_budget, cache_tokens
from worker.engines.continuous.refusal import Refusal
from worker.engines.continuous.running import Running
from worker.engines.loaded import LoadedModel
from worker.engines.loaded_engine import LoadedEngine
from worker.engines.options import read_options
from worker.engines.sampling import blame_parameters

log = logging.getLogger(__name__)
# A limit that follows from free memory is rounded down to this, so that workers agree on it.
CONTEXT_STEP = 1024


class ContinuousOptions(Frozen):
    """What a models file may say under `options` for this engine."""

    stall_steps: float = Field(
        2, gt=0, description="Steps' time that others may wait for a part of a new prompt."
    )
    cache_mb: int | None = Field(
        None, ge=1, description="Memory for the cache in MiB; half of what is free by default."
    )


class ContinuousEngine(LoadedEngine):
    """One thread of its own runs the model; task threads prepare, submit and wait."""

    name = "continuous"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.rows = model.rows
        self._options = read_options(model, ContinuousOptions, self.name)

    def load(self) -> None:
        """Raises ModelFailed, also where the model cannot be batched."""
        loaded = LoadedModel(self._model)
        try:
            self.start(loaded)
        except Refusal as refusal:
            raise ModelFailed(
                f"model {self._model.id}: the engine continuous cannot run it: {refusal}"
            ) from None

    def start(self, loaded: LoadedModel) -> None:
        """Raises Refusal."""
        certificate = certify(loaded)
        budget = self._options.cache_mb
        tokens = cache_tokens(
            certificate.column_bytes, cache_budget(loaded.network) if budget is None else budget * 2**20
        )
        loaded.facts = _within(loaded.facts, tokens)
        self.reason = _words(certificate, loaded)
        self._loaded = loaded
        ration, pace = Ration(self.rows, tokens), Pace(self._options.stall_steps)
        running = Running(Batch(loaded.network, limit=self.rows), loaded.suppressed)
        self._loop = Loop(running, certificate.seams, ration, pace)
        self._loop.start()
        weakref.finalize(self, self._loop.stop)
        log.info("model %s: %s, cache for %d tokens", self._model.id, self.reason, tokens)

    def generate(self, row: Row) -> Finish:
        """Raises Cancelled, DeviceBroken, and LogitsError where the model computes nonsense by itself."""
        with blame_parameters(row.parameters):
            return self._loop.submit(Answer(row, self._loaded))

    def idle_s(self) -> float:
        return self._loop.pulse.idle_s()

    @property
    def longest_step_s(self) -> float:
        return self._loop.pulse.longest_s

    @property
    def broken(self) -> bool:
        return bool(self._loop.broken)


def _within(facts: ModelFacts, tokens: int) -> ModelFacts:
    """Raises Refusal where not even one short answer fits into the memory for the cache."""
    if tokens >= facts.context_length:
        return facts
    rounded = tokens // CONTEXT_STEP * CONTEXT_STEP or tokens
    if not rounded:
        raise Refusal("there is no memory for its cache")
    log.warning("the cache's memory holds %d tokens of one request, fewer than the model takes", rounded)
    return replace(facts, context_length=rounded)


def _words(certificate: Certificate, loaded: LoadedModel) -> str:
    dtype = str(loaded.network.dtype).removeprefix("torch.")
    found = f"certified: beside others its logits differ by {certificate.difference:.0e} at most"
    cut = f"prompts may be cut {certificate.seams.value}"
    if loaded.network.dtype is torch.float32:
        return f"{found}; {cut}"
    return f"{found}, which in {dtype} may change an answer; {cut}"
