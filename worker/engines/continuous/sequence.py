"""An answer while it is generated: its tokens so far, how the next one is drawn, when it is finished."""

from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import torch
from transformers import GenerationConfig

from worker.engines.base import Cancelled, Finish, Row
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.prompt_content import PromptContent
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.sampling import Choice, Sampler, sample_tokens
from worker.engines.loading.devices import device_of
from worker.engines.loading.loaded import LoadedModel
from worker.engines.sampling.detokenizer import Transcript
from worker.engines.sampling.grammar_processor import grammar_processors
from worker.engines.sampling.logprobs import Distribution, distributions
from worker.engines.sampling.processors import processors_of


@dataclass(eq=False)
class SequenceGroup:
    """The answers that one request asks for to the same prompt. The `failure` of one ends all of them.

    `prefill` is their prompt, once it is computed, while some still wait for room in the batch.
    """

    sequences: "list[TokenSequence]" = field(default_factory=list)
    failure: Exception | None = None
    prefill: Prefill | None = None


class TokenSequence:
    """Written by the engine's thread; the task thread waits for `future`.

    Taken out of the batch and prefilled again, it feeds the tokens it already has without drawing them anew
    (`catches_up`).
    """

    # Made when the answer's turn has come: its time counts from there, and if memory runs out then, the
    # answer is tried again.
    _transcript: Transcript
    _config: GenerationConfig
    sampler: Sampler

    def __init__(self, row: Row, loaded: LoadedModel, siblings: SequenceGroup) -> None:
        """Raises CallerError `context_length_exceeded`."""
        self.row = row
        self.siblings = siblings
        siblings.sequences.append(self)
        self.future: Future[Finish] = Future()
        self.budget = loaded.budget(row.prompt, row.parameters)
        self.alone = False
        """It was in a step that failed, and takes its next ones by itself until it has a new token."""
        self.begun = False
        """Its turn has come before: it was put back, or has a row."""
        self._loaded = loaded
        self._held = grammar_processors(row, loaded.ends(row.parameters))
        self._fed = 0
        self._cached: int | None = None
        self._stopped = False

    @property
    def length(self) -> int:
        """The most tokens that prompt and answer can come to together."""
        return self.row.prompt.tokens + self.budget

    @property
    def content(self) -> PromptContent:
        content: PromptContent = self.row.prompt.inputs
        return content

    @property
    def fed(self) -> list[int]:
        """The tokens of the answer that the row has seen."""
        return self._transcript.ids[: self._fed]

    @property
    def over(self) -> bool:
        return self._stopped or len(self._transcript.ids) == self.budget

    @property
    def cancelled(self) -> bool:
        return self.siblings.failure is not None or self.row.cancel.is_set()

    def prefill(self, reuse: ReuseCache) -> Prefill:
        """Start the prompt, or start it again.

        Raises BatchingError, and what the model raises on its pictures.
        """
        self._begin()
        known = reuse.known(self.content)
        pause = self.content.pause
        prefill = Prefill(self._loaded.network, known, self._config, reuse.cut_points, pause)
        self._ready(prefill, known.start)
        return prefill

    def fork(self, prefill: Prefill) -> None:
        """Start from the prompt that was computed for one of its siblings, instead of calling `prefill`."""
        self._begin()
        self._ready(prefill, prefill.length)

    @property
    def next_fed(self) -> int:
        return self._transcript.ids[self._fed]

    def count_fed(self) -> None:
        self._fed += 1

    @property
    def cached(self) -> int:
        """How many tokens of the prompt were not computed for it."""
        return self._cached or 0

    @property
    def catches_up(self) -> bool:
        """Whether the token after the one just fed is already known."""
        return self._fed < len(self._transcript.ids)

    @property
    def top_logprobs(self) -> int | None:
        """How many alternatives to report for each token; None if the request asks for no logprobs."""
        return self.row.parameters.logprobs

    def first(self, logits: torch.Tensor) -> None:
        """Draw the first token of the answer, unless it is already known. Raises what `take` raises."""
        if self.catches_up:
            return
        count = self.top_logprobs
        [distribution] = [None] if count is None else distributions(logits, [count])
        # Drawing may write into the logits, and siblings draw from the same ones.
        [choice] = sample_tokens([self.sampler], logits.clone())
        self.take(choice, distribution)

    def take(self, choice: Choice | Exception, distribution: Distribution | None) -> None:
        """Append the next token; `distribution` is needed for logprobs.

        Raises Cancelled, LogitsError, what `sample_tokens` found, and what `emit` raises.
        """
        if self.cancelled:
            raise Cancelled
        if isinstance(choice, Exception):
            raise choice
        likelihood = None if distribution is None else distribution.of(choice.token)
        # Last: if memory runs out before, the token is drawn again.
        self.sampler.accept(choice)
        self._stopped = self._transcript.add(choice.token, likelihood)

    def finish(self) -> Finish:
        finish = self._transcript.finish("length", self.sampler.score)
        return replace(finish, cached_tokens=self.cached)

    def _begin(self) -> None:
        """Does its work at the first call only."""
        if self.begun:
            return
        self.row.on_begin()
        self._transcript = self._loaded.transcript(self.row)
        self._config = self._loaded.config(self.row.parameters, self.budget)
        processors = (*self._held, *processors_of(self.row, self._loaded.defaults))
        self.sampler = Sampler(self.row, self._config, device_of(self._loaded.network), processors)
        self.begun = True

    def _ready(self, prefill: Prefill, cached: int) -> None:
        self._cached = cached if self._cached is None else self._cached
        self.sampler.prepare(prefill.ids, self._transcript.ids, prefill.processors(self.sampler.own))
        self._fed = 0
