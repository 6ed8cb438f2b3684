"""Chooses one row's next token as `generate()` does, with the processors that `generate()` makes for it."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, SuppressTokensLogitsProcessor

from worker.engines.base import Row
from worker.engines.continuous.greedy import Choice
from worker.engines.sampling import Confidence, LogitsError, Replay, bending

PLAIN = (Confidence, SuppressTokensLogitsProcessor)


class Draw:
    """Random draws come from a generator of the row's own, so that neighbours do not change them."""

    plain: bool
    """Whether `greedy` may choose the row's tokens."""
    _ids: Any
    _processors: LogitsProcessorList
    _probability: float

    def __init__(
        self, row: Row, config: GenerationConfig, device: torch.device, held: Sequence[LogitsProcessor] = ()
    ) -> None:
        """`held` processors forbid tokens that the row's format does not allow."""
        parameters = row.parameters
        self._confidence = Confidence()
        self._dice: torch.Generator | None = None
        if config.do_sample:
            self._dice = torch.Generator(device)
            self._dice.seed() if parameters.seed is None else self._dice.manual_seed(parameters.seed)
        self.own: list[LogitsProcessor] = [self._confidence, *held, *bending(parameters)]
        if row.published:
            self.own.append(Replay(row.published))

    def prepare(self, prompt: torch.Tensor, answer: list[int], processors: LogitsProcessorList) -> None:
        """`processors` are those of `generate()`, the own ones among them."""
        self._ids = torch.cat([prompt, prompt.new_tensor([answer])], dim=-1) if answer else prompt
        self._processors = processors
        self.plain = self._dice is None and all(type(processor) in PLAIN for processor in processors)

    def next(self, logits: Any) -> int:
        """The token drawn from logits [1, vocabulary]. Raises LogitsError."""
        scores: Any = self._processors(self._ids, logits)
        if self._dice is None:
            token = int(scores.argmax(dim=-1))
        else:
            token = int(torch.multinomial(scores.softmax(dim=-1), num_samples=1, generator=self._dice))
        self._probability = self._confidence.of(token)
        self._ids = torch.cat([self._ids, self._ids.new_tensor([[token]])], dim=-1)
        return token

    @contextmanager
    def undone(self) -> Iterator[None]:
        """If the body raises, its draw is undone: the next one is the same, and the score leaves it out."""
        thrown = None if self._dice is None else self._dice.get_state()
        try:
            yield
        except Exception:
            if self._dice is not None and thrown is not None:
                self._dice.set_state(thrown)
            raise
        self._confidence.add(self._probability)

    def accept(self, choice: Choice) -> int:
        """The token of a plain row. Raises LogitsError."""
        if not math.isfinite(choice.probability):
            raise LogitsError("the model computed NaN or infinite logits")
        self._probability = choice.probability
        return choice.token

    @property
    def score(self) -> float | None:
        return self._confidence.score
