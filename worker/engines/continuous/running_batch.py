"""The answers that are decoding, each with its row of the batch."""

from collections.abc import Iterable, Sequence
from itertools import count

import torch

from worker.engines.continuous.batch import Batch
from worker.engines.continuous.kv_slices import KVSlices
from worker.engines.continuous.prefill import Prefilled
from worker.engines.continuous.prefill_queue import Chunk
from worker.engines.continuous.sampling import Choice, Suppressed, greedy, sample_tokens
from worker.engines.continuous.sequence import TokenSequence
from worker.engines.sampling.logprobs import Distribution, distributions

SampledToken = tuple[TokenSequence, Choice | Exception, Distribution | None]


class RunningBatch:
    """Keeps the order of answers and of the batch's rows the same."""

    def __init__(self, batch: Batch, suppressed: Iterable[int]) -> None:
        """`suppressed` tokens are never chosen."""
        self.answers: list[TokenSequence] = []
        self._batch = batch
        self._suppressed = Suppressed(suppressed)
        self._arrivals = count()
        self._arrived: dict[TokenSequence, int] = {}

    def enter(self, answer: TokenSequence, prefilled: Prefilled) -> None:
        """Raises BatchingError."""
        self._batch.join(prefilled)
        self.answers.append(answer)
        self._arrived[answer] = next(self._arrivals)

    def past(self, answer: TokenSequence) -> KVSlices | None:
        """The cache of its row, valid until the batch changes; None if it has no row."""
        return self._batch.past(self.answers.index(answer)) if answer in self else None

    def leave(self, answer: TokenSequence) -> None:
        """Drop the answer and its row. If this raises, the answer is gone, and the others' rows are lost."""
        if answer not in self:
            return
        row = self.answers.index(answer)
        last = self.answers.pop()
        if last is not answer:
            self.answers[row] = last
        del self._arrived[answer]
        self._batch.leave(row)

    def __contains__(self, answer: TokenSequence) -> bool:
        return answer in self._arrived

    def step(self, chunks: Sequence[Chunk] = ()) -> tuple[list[SampledToken], list[Prefilled | None]]:
        """Take a step; returns the answers that need a new token, and the prefills of the chunks computed.

        An answer comes with its token or with the error of drawing it; one that reports logprobs also with
        its distribution.
        """
        prompts = [(chunk.sequence.prefill, chunk.end) for chunk in chunks]
        logits, prefilled = self._batch.mixed_step([answer.next_fed for answer in self.answers], prompts)
        for answer in self.answers:
            answer.count_fed()
        drawing = {row: answer for row, answer in enumerate(self.answers) if not answer.catches_up}
        distributions_seen = self._distributions(logits, drawing)
        chosen = self._choices(logits, drawing)
        return [
            (answer, chosen[row], distributions_seen.get(row)) for row, answer in drawing.items()
        ], prefilled

    def _choices(
        self, logits: torch.Tensor, drawing: dict[int, TokenSequence]
    ) -> dict[int, Choice | Exception]:
        """The next token of each row. May overwrite the logits."""
        plain = [row for row, answer in drawing.items() if answer.plain]
        random = [row for row, answer in drawing.items() if not answer.plain]
        chosen: dict[int, Choice | Exception] = {}
        if plain:
            # `greedy` may overwrite what it is given, and the other rows still draw from their logits.
            own = logits if len(plain) == len(logits) else logits[plain]
            chosen.update(zip(plain, greedy(own, self._suppressed), strict=True))
        if random:
            own = logits if len(random) == len(logits) else logits[random]
            samplers = [drawing[row].sampler for row in random]
            chosen.update(zip(random, sample_tokens(samplers, own.to(torch.float32)), strict=True))
        return chosen

    def _distributions(
        self, logits: torch.Tensor, drawing: dict[int, TokenSequence]
    ) -> dict[int, Distribution]:
        counts = {
            row: answer.top_logprobs for row, answer in drawing.items() if answer.top_logprobs is not None
        }
        if not counts:
            return {}
        some = logits[list(counts)].to(torch.float32)
        return dict(zip(counts, distributions(some, list(counts.values())), strict=True))

    def clear(self) -> list[TokenSequence]:
        """Drop all answers and return them, oldest first."""
        answers = sorted(self.answers, key=lambda answer: self._arrived[answer])
        self.answers, self._arrived = [], {}
        self._batch.clear()
        return answers

    def drop_idle(self) -> bool:
        """See `Batch.drop_idle`."""
        return self._batch.drop_idle()

    def give_back_memory(self) -> None:
        self._batch.trim()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def youngest(self) -> TokenSequence:
        return max(self.answers, key=lambda answer: self._arrived[answer])

    @property
    def torn(self) -> bool:
        return self._batch.torn

    @property
    def lost(self) -> bool:
        """Whether the rows are lost after a step that raised.

        Their caches may be half updated, or a row was fed a token after which no next one was drawn.
        """
        undrawn = not all(answer.catches_up for answer in self.answers)
        return self._batch.recurrent or self._batch.torn or undrawn
