"""One row's answer in the making: its tokens, how the next one is drawn, and when it is over."""

from concurrent.futures import Future
from dataclasses import replace

import torch
from transformers import GenerationConfig, LogitsProcessorList

from worker.engines.base import Cancelled, Finish, Row
from worker.engines.continuous.content import Content
from worker.engines.continuous.draw import Draw
from worker.engines.continuous.greedy import Choice
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.reuse import Reuse
from worker.engines.distribution import Distribution, distributions
from worker.engines.hold import held
from worker.engines.loaded import LoadedModel
from worker.engines.transcript import Transcript


class Kin:
    """The answers to one prompt that were asked for together. `failure` of one ends all."""

    failure: Exception | None = None


class Answer:
    """Written by the engine's thread; the task thread waits for `future`.

    Taken out of the batch and prefilled again, it feeds the tokens it already has without drawing them anew
    (`catches_up`).
    """

    # Made by `_begin`, and not before a turn has come: the answer's time counts from there, and what finds no
    # memory then is tried again.
    _transcript: Transcript
    _config: GenerationConfig
    _draw: Draw

    def __init__(self, row: Row, loaded: LoadedModel, kin: Kin) -> None:
        """Raises CallerError `context_length_exceeded`."""
        self.row = row
        self.kin = kin
        self.future: Future[Finish] = Future()
        self.budget = loaded.budget(row.prompt, row.parameters)
        self.alone = False
        self.apart = False
        self.beside: int | None = None
        """At most so many others may be there until it has taken a step: there was no memory beside more."""
        self.failed_steps = 0
        self._loaded = loaded
        self._held = held(row, loaded.ends(row.parameters))
        self.spared = False
        self._fed = 0
        self._cached: int | None = None
        self._begun = False
        self._stopped = False

    @property
    def length(self) -> int:
        """Tokens of prompt and answer, as long as it may become."""
        return self.row.prompt.tokens + self.budget

    @property
    def content(self) -> Content:
        content: Content = self.row.prompt.inputs
        return content

    @property
    def ids_fed(self) -> list[int]:
        """The tokens of the answer that the row has seen."""
        return self._transcript.ids[: self._fed]

    @property
    def over(self) -> bool:
        return self._stopped or len(self._transcript.ids) == self.budget

    @property
    def cancelled(self) -> bool:
        return self.kin.failure is not None or self.row.cancel.is_set()

    def prefill(self, reuse: Reuse) -> Prefill:
        """Start, or start again. Raises Refusal, and whatever the model raises on its pictures."""
        self._begin()
        head = reuse.head(self.content)
        if self._cached is None:
            self._cached = head.start
        prefill = Prefill(self._loaded.network, head, self._config, self._draw.own, reuse.seams)
        self._ready(prefill, prefill.processors)
        return prefill

    def fork(self, prefill: Prefill) -> None:
        """As `prefill`, on what one of its kin has computed."""
        self._begin()
        if self._cached is None:
            self._cached = prefill.length
        self._ready(prefill, prefill.processors_of(self._draw.own))

    @property
    def next_fed(self) -> int:
        """The token for the next step."""
        return self._transcript.ids[self._fed]

    def count_fed(self) -> None:
        """The step has taken `next_fed`."""
        self._fed += 1

    @property
    def catches_up(self) -> bool:
        """Whether the token behind the one just fed is known already."""
        return self._fed < len(self._transcript.ids)

    @property
    def plain(self) -> bool:
        """Whether its next token is the most probable one."""
        return self._draw.plain

    @property
    def top_logprobs(self) -> int | None:
        """How many alternatives it tells beside each token; None where it tells no logprobs."""
        return self.row.parameters.logprobs

    def first(self, logits: torch.Tensor) -> None:
        """The token behind the prompt, where it is not known yet. Raises as `take`."""
        if not self.catches_up:
            # Whoever draws may write into what others draw from, or what is kept.
            self.take(logits.clone())

    def take(self, found: torch.Tensor | Choice, seen: Distribution | None = None) -> None:
        """The next token, from logits [1, vocabulary] or as `greedy` found it.

        `seen` is what was made of the logits already, where logprobs are told. Raises Cancelled, LogitsError,
        and what `emit` raises.
        """
        if self.cancelled:
            raise Cancelled
        if seen is None and self.top_logprobs is not None and isinstance(found, torch.Tensor):
            # Before the dice: where there is no memory for it, the token is drawn again.
            [seen] = distributions(found, [self.top_logprobs])
        with self._draw.undone():
            token = self._draw.accept(found) if isinstance(found, Choice) else self._draw.next(found)
            told = None if seen is None else seen.of(token)
        self._stopped = self._transcript.add(token, told)

    def finish(self) -> Finish:
        finish = self._transcript.finish("length", self._draw.score)
        return replace(finish, cached_tokens=self._cached or 0)

    def fail(self, error: Exception) -> None:
        self.kin.failure = self.kin.failure or error
        self.future.set_exception(self.kin.failure)

    def _ready(self, prefill: Prefill, processors: LogitsProcessorList) -> None:
        self._draw.prepare(prefill.ids, self._transcript.ids, processors)
        self._fed = 0

    def _begin(self) -> None:
        """At the first call; later ones find all made."""
        if self._begun:
            return
        self._transcript = self._loaded.transcript(self.row)
        self._config = self._loaded.config(self.row.parameters, self.budget)
        self._draw = Draw(self.row, self._config, self._loaded.network.device, self._held)
        self._begun = True
