"""The answers that decode, each with its row of the batch."""

from collections.abc import Iterable, Sequence
from itertools import count

import torch

from worker.engines.continuous.answer import Answer
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.greedy import Choice, greedy
from worker.engines.continuous.joining import Chunk
from worker.engines.continuous.past import Past
from worker.engines.continuous.prefill import Prefilled
from worker.engines.distribution import Distribution, distributions

Drawn = tuple[Answer, torch.Tensor | Choice, Distribution | None]


class Running:
    """Keeps the order of answers and of the batch's rows the same."""

    def __init__(self, batch: Batch, suppressed: Iterable[int]) -> None:
        """`suppressed` tokens are in no answer."""
        self.answers: list[Answer] = []
        self._batch = batch
        self._suppressed = suppressed
        self._arrivals = count()
        self._arrived: dict[Answer, int] = {}

    def enter(self, answer: Answer, prefilled: Prefilled) -> None:
        """Raises Refusal."""
        self._batch.join(prefilled)
        self.answers.append(answer)
        self._arrived[answer] = next(self._arrivals)

    def past(self, answer: Answer) -> Past | None:
        """What its row has seen, until anything else happens; None where it has no row."""
        return self._batch.past(self.answers.index(answer)) if answer in self else None

    def leave(self, answer: Answer) -> None:
        """It is gone, whatever this raises; the others' rows are lost then."""
        if answer not in self:
            return
        row = self.answers.index(answer)
        last = self.answers.pop()
        if last is not answer:
            self.answers[row] = last
        del self._arrived[answer]
        self._batch.leave(row)

    def __contains__(self, answer: Answer) -> bool:
        return answer in self._arrived

    def step(self, chunks: Sequence[Chunk] = ()) -> tuple[list[Drawn], list[Prefilled | None]]:
        """Every answer that needs a new token, and what the chunks that the step took along have come to.

        A plain one comes with the token itself, another with its logits; one that tells logprobs also with
        what they are made of.
        """
        prompts = [(chunk.newcomer.prefill, chunk.end) for chunk in chunks]
        logits, found = self._batch.step_beside([answer.next_fed for answer in self.answers], prompts)
        for answer in self.answers:
            answer.count_fed()
        drawing = {row: answer for row, answer in enumerate(self.answers) if not answer.catches_up}
        seen = self._seen(logits, drawing)
        plain = [row for row, answer in drawing.items() if answer.plain]
        # What others draw from must not be written over.
        own = logits if len(plain) == len(logits) else logits[plain]
        chosen = dict(zip(plain, greedy(own, self._suppressed), strict=True)) if plain else {}
        drawn = [
            (answer, chosen.get(row) or logits[row : row + 1].to(torch.float32), seen.get(row))
            for row, answer in drawing.items()
        ]
        return drawn, found

    def _seen(self, logits: torch.Tensor, drawing: dict[int, Answer]) -> dict[int, Distribution]:
        told = {
            row: answer.top_logprobs for row, answer in drawing.items() if answer.top_logprobs is not None
        }
        if not told:
            return {}
        some = logits[list(told)].to(torch.float32)
        return dict(zip(told, distributions(some, list(told.values())), strict=True))

    def clear(self) -> list[Answer]:
        """Everybody leaves, oldest first."""
        answers = sorted(self.answers, key=lambda answer: self._arrived[answer])
        self.answers, self._arrived = [], {}
        self._batch.clear()
        return answers

    def give_back_memory(self) -> None:
        self._batch.trim()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def youngest(self) -> Answer:
        return max(self.answers, key=lambda answer: self._arrived[answer])

    @property
    def torn(self) -> bool:
        return self._batch.torn

    @property
    def lost(self) -> bool:
        """Whether a step that raised left rows of which nobody knows what they have seen.

        Or rows that have taken a token, and behind which none was drawn.
        """
        undrawn = not all(answer.catches_up for answer in self.answers)
        return self._batch.recurrent or self._batch.torn or undrawn
