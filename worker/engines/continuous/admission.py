"""Chooses which waiting answers have their prompts prepared now."""

from collections.abc import Iterable, Sequence

from worker.engines.continuous.answer import Answer
from worker.engines.continuous.capacity import Capacity
from worker.engines.continuous.pace import PassLimits
from worker.engines.continuous.prefilling import Prefilling
from worker.engines.continuous.reuse import Reuse


class Admission:
    """First come, first served, so that a long prompt is not overtaken for ever."""

    def __init__(self, capacity: Capacity, reuse: Reuse, prefilling: Prefilling) -> None:
        self._capacity = capacity
        self._reuse = reuse
        self._prefilling = prefilling

    def next(self, waiting: Iterable[Answer], running: Sequence[Answer], limits: PassLimits) -> list[Answer]:
        """The first answers in line, as many as the next pass can use."""
        chosen: list[Answer] = []
        for answer in waiting:
            beside = [*self._prefilling.answers, *chosen]
            if not self.admits(answer, [*running, *beside]) or (beside and not self._joins(answer, beside)):
                break
            if chosen and len(chosen) == limits.newcomers:
                break
            if self._prefilling.tokens + sum(other.row.prompt.tokens for other in chosen) >= limits.tokens:
                break
            chosen.append(answer)
        return chosen

    def admits(self, answer: Answer, others: Sequence[Answer]) -> bool:
        """Whether the batch has room for the answer beside the others."""
        if any(other.alone for other in others) or (answer.alone and others):
            return False
        if any(one.beside is not None and len(others) > one.beside for one in [answer, *others]):
            return False
        return self._capacity.admits([other.length for other in [*others, answer]])

    def _joins(self, answer: Answer, beside: Sequence[Answer]) -> bool:
        """Whether its prompt may be computed with theirs; False if it can reuse theirs once they are done."""
        if self._prefilling.rows == 1 or any(other.apart for other in [answer, *beside]):
            return False
        if any(other.siblings is answer.siblings for other in beside):
            return False
        return not self._reuse.follows(answer.content, [other.content for other in beside])
