"""How a row's next token is drawn: as by `generate()`, with the processors that `generate()` makes for it."""

import math
from collections.abc import Sequence

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from worker.engines.base import Row
from worker.engines.continuous.greedy import Choice
from worker.engines.sampling import Confidence, LogitsError, Replay, bending


class Unread(Confidence):
    """Leaves the distribution on the device.

    Broken logits are noticed when the token's probability is read.
    """

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        self.remember(input_ids, scores)
        return scores


PLAIN = (Unread, SuppressTokensLogitsProcessor)
# They look at nothing but the scores, at each row by itself, and come last.
WARPERS = (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    MinPLogitsWarper,
    TypicalLogitsWarper,
)


class Draw:
    """Random draws come from a generator of the row's own, so that neighbours do not change them."""

    plain: bool
    """Whether `greedy` may choose the row's tokens."""
    manner: tuple[object, ...]
    """Rows of the same manner can be drawn together once they are bent."""
    _ids: torch.Tensor
    _processors: Sequence[LogitsProcessor]
    _warpers: Sequence[LogitsProcessor]

    def __init__(
        self, row: Row, config: GenerationConfig, device: torch.device, held: Sequence[LogitsProcessor] = ()
    ) -> None:
        """`held` processors forbid tokens that the row's format does not allow."""
        parameters = row.parameters
        self._confidence = Unread()
        self._dice: torch.Generator | None = None
        if config.do_sample:
            self._dice = torch.Generator(device)
            self._dice.seed() if parameters.seed is None else self._dice.manual_seed(parameters.seed)
            self._unthrown = self._dice.get_state()
        self.own: list[LogitsProcessor] = [self._confidence, *held, *bending(parameters)]
        if row.published:
            self.own.append(Replay(row.published))

    def prepare(self, prompt: torch.Tensor, answer: list[int], processors: LogitsProcessorList) -> None:
        """`processors` are those of `generate()`, the own ones among them."""
        self._ids = torch.cat([prompt, prompt.new_tensor([answer])], dim=-1) if answer else prompt
        self.plain = self._dice is None and all(type(processor) in PLAIN for processor in processors)
        last = len(processors)
        while last and type(processors[last - 1]) in WARPERS:
            last -= 1
        self._processors, self._warpers = processors[:last], processors[last:]
        self.manner = (self.throws, *((type(one), *vars(one).items()) for one in self._warpers))

    @property
    def throws(self) -> bool:
        """Whether its tokens are random."""
        return self._dice is not None

    def bent(self, logits: torch.Tensor) -> torch.Tensor:
        """The row's scores [1, vocabulary] for its next token, before they are warped."""
        scores: torch.Tensor = logits
        for processor in self._processors:
            scores = processor(self._ids, scores)
        return scores

    def warped(self, scores: torch.Tensor) -> torch.Tensor:
        """Those of any rows of its manner [rows, vocabulary]."""
        for warper in self._warpers:
            scores = warper(self._ids, scores)
        return scores

    def throw(self, lane: torch.Tensor) -> None:
        """Fill it with the random numbers of the next token: the same ones until a token is accepted."""
        if self._dice is not None:
            self._dice.set_state(self._unthrown)
            lane.exponential_(generator=self._dice)

    def logprob(self, token: torch.Tensor) -> torch.Tensor:
        """How probable the token [1] is, on its device; NaN where the row's logits are no numbers."""
        return self._confidence.logprob(token)

    def accept(self, choice: Choice) -> None:
        """It is the row's next token. Raises LogitsError; whatever it raises, the draw is undone."""
        if not math.isfinite(choice.probability):
            raise LogitsError("the model computed NaN or infinite logits")
        if not self.plain:
            longer = torch.cat([self._ids, self._ids.new_full((1, 1), choice.token)], dim=-1)
            if self._dice is not None:
                self._unthrown = self._dice.get_state()
            self._ids = longer
        self._confidence.add(choice.probability)

    @property
    def score(self) -> float | None:
        return self._confidence.score
