"""How rows draw their next tokens: as by `generate()`, with the processors that `generate()` makes for each.

Most requests ask for greedy decoding, and choosing row by row takes a tenth of a step: `greedy` chooses for
all in one go. Of the others, `sample_tokens` draws those together whose last processors are alike, and reads
all from the device once: on a GPU each read waits for everything before it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

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
from worker.engines.sampling.processors import Confidence, LogitsError, Replay

# Logits that a CPU's thread works on at once: a MiB of them stays in a core's own cache. Fewer in more calls
# take longer, most of all with several threads.
BLOCK = 2**18
# A token so far behind the best adds nothing in float32. Of what is further behind, like the tokens that some
# models hide, MKL's exp takes up to two hundred times as long.
FARTHEST = -80.0


class Choice(NamedTuple):
    """A token and how probable it was; NaN where the row's logits are no numbers."""

    token: int
    probability: float


class Suppressed:
    """Tokens that are never chosen, kept on the device: copied there, they would wait for the whole pass."""

    def __init__(self, tokens: Iterable[int]) -> None:
        self._tokens = tokens
        self._there: torch.Tensor | None = None

    def of(self, logits: torch.Tensor) -> torch.Tensor:
        """Those of the vocabulary."""
        if self._there is None:
            tokens = [token for token in self._tokens if token < logits.shape[1]]
            self._there = torch.tensor(tokens, dtype=torch.long, device=logits.device)
        return self._there


def greedy(logits: torch.Tensor, suppressed: Suppressed) -> list[Choice]:
    """What transformers' SuppressTokensLogitsProcessor and argmax give for each row of [rows, vocabulary].

    Overwrites `logits` if they are float32: with a large vocabulary a copy takes a third of the time.
    """
    never = suppressed.of(logits)
    blocks = _in_float32(logits, at_once(logits))
    return [choice for block in blocks for choice in _greedy(block, never)]


def at_once(logits: torch.Tensor) -> int:
    """How many of the rows [rows, vocabulary] to work on together."""
    rows, vocabulary = logits.shape
    if logits.device.type != "cpu":
        return rows
    return max(1, BLOCK * torch.get_num_threads() // vocabulary)


def _in_float32(logits: torch.Tensor, rows: int) -> Iterator[torch.Tensor]:
    """Yield the logits block by block; converted blocks share one buffer, each overwriting the last."""
    blocks = (logits[at : at + rows] for at in range(0, len(logits), rows))
    if logits.dtype == torch.float32:
        yield from blocks
        return
    place = logits.new_empty((rows, logits.shape[1]), dtype=torch.float32)
    for block in blocks:
        yield place[: len(block)].copy_(block)


def _greedy(scores: torch.Tensor, never: torch.Tensor) -> Iterable[Choice]:
    scores.index_fill_(1, never, -torch.inf)
    best = argmax(scores)[:, None]
    # The best one's softmax, without writing those of all others.
    behind = scores.sub_(scores.gather(1, best)).clamp_min_(FARTHEST)
    probabilities = behind.exp_().sum(dim=-1).reciprocal_()
    return map(Choice, best[:, 0].tolist(), probabilities.tolist())


def argmax(scores: torch.Tensor) -> torch.Tensor:
    """Of each row. NumPy on a CPU, where it takes a twentieth of torch 2.13's time."""
    if scores.device.type != "cpu":
        return scores.argmax(dim=-1)
    return torch.from_numpy(scores.numpy().argmax(axis=-1))


class PendingTokens(Confidence):
    """Leaves the distribution on the device.

    Broken logits are noticed when the token's probability is read.
    """

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        self.remember(input_ids, scores)
        return scores


PLAIN = (PendingTokens, SuppressTokensLogitsProcessor)
# They look at nothing but the scores, at each row by itself, and come last.
WARPERS = (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    MinPLogitsWarper,
    TypicalLogitsWarper,
)


class Sampler:
    """Random numbers come from a generator of the row's own, so that neighbours do not change them."""

    plain: bool
    """Whether `greedy` may choose the row's tokens."""
    batch_key: tuple[object, ...]
    """Rows of the same key can be sampled together once their scores are processed."""
    _ids: torch.Tensor
    _processors: Sequence[LogitsProcessor]
    _warpers: Sequence[LogitsProcessor]

    def __init__(
        self,
        row: Row,
        config: GenerationConfig,
        device: torch.device,
        processors: Sequence[LogitsProcessor] = (),
    ) -> None:
        """`processors` are those of the row's format and parameters."""
        self._confidence = PendingTokens()
        self._generator: torch.Generator | None = None
        if config.do_sample:
            self._generator = torch.Generator(device)
            seed = row.parameters.seed
            self._generator.seed() if seed is None else self._generator.manual_seed(seed)
            self._generator_state = self._generator.get_state()
        self.own: list[LogitsProcessor] = [self._confidence, *processors]
        if row.published:
            self.own.append(Replay(row.published))

    def prepare(self, prompt: torch.Tensor, answer: list[int], processors: LogitsProcessorList) -> None:
        """`processors` are those of `generate()`, the own ones among them."""
        self._ids = torch.cat([prompt, prompt.new_tensor([answer])], dim=-1) if answer else prompt
        self.plain = self._generator is None and all(type(processor) in PLAIN for processor in processors)
        last = len(processors)
        while last and type(processors[last - 1]) in WARPERS:
            last -= 1
        self._processors, self._warpers = processors[:last], processors[last:]
        self.batch_key = (self.is_random, *((type(one), *vars(one).items()) for one in self._warpers))

    @property
    def is_random(self) -> bool:
        return self._generator is not None

    def processed_scores(self, logits: torch.Tensor) -> torch.Tensor:
        """The row's scores [1, vocabulary] for its next token, before they are warped."""
        scores: torch.Tensor = logits
        for processor in self._processors:
            scores = processor(self._ids, scores)
        return scores

    def warped(self, scores: torch.Tensor) -> torch.Tensor:
        """Those of any rows of its `batch_key` [rows, vocabulary]."""
        for warper in self._warpers:
            scores = warper(self._ids, scores)
        return scores

    def fill_noise(self, lane: torch.Tensor) -> None:
        """Fill it with the random numbers of the next token: the same ones until a token is accepted."""
        if self._generator is not None:
            self._generator.set_state(self._generator_state)
            lane.exponential_(generator=self._generator)

    def logprob(self, token: torch.Tensor) -> torch.Tensor:
        """How probable the token [1] is, on its device; NaN where the row's logits are no numbers."""
        return self._confidence.logprob(token)

    def accept(self, choice: Choice) -> None:
        """It is the row's next token. Raises LogitsError; whatever it raises, the draw is undone."""
        if not math.isfinite(choice.probability):
            raise LogitsError("the model computed NaN or infinite logits")
        if not self.plain:
            longer = torch.cat([self._ids, self._ids.new_full((1, 1), choice.token)], dim=-1)
            if self._generator is not None:
                self._generator_state = self._generator.get_state()
            self._ids = longer
        self._confidence.add(choice.probability)

    @property
    def score(self) -> float | None:
        return self._confidence.score


def sample_tokens(samplers: Sequence[Sampler], logits: torch.Tensor) -> list[Choice | Exception]:
    """For each row of float32 logits [rows, vocabulary] its token, or what the row's own processors raised.

    A draw counts only once it is accepted. May overwrite `logits`.
    """
    choices: dict[int, Choice | Exception] = {}
    processed: dict[int, torch.Tensor] = {}
    for row, (sampler, own) in enumerate(zip(samplers, logits[:, None], strict=True)):
        try:
            processed[row] = sampler.processed_scores(own)
        except Exception as error:
            # It is this row's alone: who takes the token raises it.
            choices[row] = error
    choices.update(_choices(samplers, processed, at_once(logits)))
    return [choices[row] for row in range(len(samplers))]


def _choices(
    samplers: Sequence[Sampler], processed: Mapping[int, torch.Tensor], most: int
) -> Mapping[int, Choice]:
    """For each processed row, at most `most` of the same `batch_key` at a time."""
    alike: dict[object, list[int]] = {}
    for row in processed:
        alike.setdefault(samplers[row].batch_key, []).append(row)
    tokens: dict[int, torch.Tensor] = {}
    weights: list[torch.Tensor] = []
    for same in alike.values():
        for rows in (same[at : at + most] for at in range(0, len(same), most)):
            each, weight = _tokens(
                [samplers[row] for row in rows], torch.cat([processed[row] for row in rows])
            )
            tokens.update(zip(rows, each[:, None], strict=True))
            weights.append(weight)
    if not tokens:
        return {}
    read = _read([samplers[row] for row in tokens], torch.cat([*tokens.values()]), torch.cat(weights))
    return dict(zip(tokens, read, strict=True))


def _tokens(samplers: Sequence[Sampler], scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of rows of the same `batch_key`; also the weight that each had, NaN where scores are no numbers.

    `torch.multinomial` draws one token just so, too, but takes one generator for all rows, and reads twice to
    check that the probabilities are some.
    """
    scores = samplers[0].warped(scores)
    if samplers[0].is_random:
        scores = scores.softmax(dim=-1)
        race = torch.empty_like(scores)
        for sampler, lane in zip(samplers, race, strict=True):
            sampler.fill_noise(lane)
        tokens = argmax(torch.div(scores, race, out=race))
        return tokens, scores.gather(1, tokens[:, None])[:, 0]
    tokens = argmax(scores)
    return tokens, torch.ones_like(tokens, dtype=scores.dtype)


def _read(samplers: Sequence[Sampler], tokens: torch.Tensor, weights: torch.Tensor) -> list[Choice]:
    """The probability is NaN also where a row's own processors left scores that are no numbers."""
    logprobs = torch.cat(
        [sampler.logprob(token) for sampler, token in zip(samplers, tokens[:, None], strict=True)]
    )
    logprobs = logprobs.masked_fill(~weights.isfinite(), torch.nan)
    return [
        Choice(token, math.exp(logprob))
        for token, logprob in zip(tokens.tolist(), logprobs.tolist(), strict=True)
    ]
