"""One row's answer in the making: its tokens, how the next one is drawn, and when it is over."""

from concurrent.futures import Future
from dataclasses import replace

import torch
from transformers import GenerationConfig

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


class Answer:
    """Written by the engine's thread; the task thread waits for `future`.

    Taken out of the batch and prefilled again, it feeds the tokens it already has without drawing them anew
    (`catches_up`).
    """

    _transcript: Transcript
    _config: GenerationConfig
    _draw: Draw

    def __init__(self, row: Row, loaded: LoadedModel) -> None:
        """Raises CallerError `context_length_exceeded`."""
        self.row = row
        self.future: Future[Finish] = Future()
        self.budget = loaded.budget(row.prompt, row.parameters)
        self.alone = False
        self.failed_steps = 0
        self._loaded = loaded
        self._held = held(row)
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
        ids = self._transcript.ids
        return self._stopped or len(ids) == self.budget or ids[-1] in self._loaded.end_ids

    @property
    def cancelled(self) -> bool:
        return self.row.cancel.is_set()

    def prefill(self, reuse: Reuse) -> Prefill:
        """Start, or start again. Raises Refusal, and whatever the model raises on its pictures."""
        if not self._begun:
            self._begin()
        head = reuse.head(self.content)
        if self._cached is None:
            self._cached = head.start
        prefill = Prefill(self._loaded.network, head, self._config, self._draw.own, reuse.seams)
        self._draw.prepare(prefill.ids, self._transcript.ids, prefill.processors)
        self._fed = 0
        return prefill

    def feed(self) -> int:
        """The token for the next step."""
        return self._transcript.ids[self._fed]

    def fed(self) -> None:
        """The step has taken it."""
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
    def told(self) -> int | None:
        """How many alternatives it tells beside each token; None where it tells no logprobs."""
        return self.row.parameters.logprobs

    def take(
        self, logits: torch.Tensor, choice: Choice | None = None, seen: Distribution | None = None
    ) -> None:
        """The next token, from [1, vocabulary] or as `greedy` found it.

        `seen` is what was made of the logits already, where logprobs are told. Raises Cancelled, LogitsError,
        and what `emit` raises.
        """
        if self.cancelled:
            raise Cancelled
        if seen is None and self.told is not None:
            # Before the dice: where there is no memory for it, the token is drawn again.
            [seen] = distributions(logits, [self.told])
        token = self._draw.next(logits) if choice is None else self._draw.accept(choice)
        self._stopped = self._transcript.add(token, None if seen is None else seen.of(token))

    def finish(self) -> Finish:
        ids = self._transcript.ids
        ended = len(ids) < self.budget or ids[-1] in self._loaded.end_ids
        finish = self._transcript.finish("stop" if ended else "length", self._draw.score)
        return replace(finish, cached_tokens=self._cached or 0)

    def _begin(self) -> None:
        self._begun = True
        self._transcript = self._loaded.transcript(self.row)
        self._config = self._loaded.config(self.row.parameters, self.budget)
        self._draw = Draw(self.row, self._config, self._loaded.network.device, self._held)
