"""Ends answers, and decides after an error which answers fail, which wait and which go on."""

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from worker.engines.base import DeviceBroken
from worker.engines.continuous.prefill_queue import Pass, PrefillQueue
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.running_batch import RunningBatch
from worker.engines.continuous.scheduler import PendingCount, WaitingQueue
from worker.engines.continuous.sequence import TokenSequence
from worker.engines.continuous.token_budget import BatchCapacity
from worker.engines.loading.torch_errors import device_broken, out_of_memory

log = logging.getLogger("worker.engines.continuous")


class Recovery:
    """Knows every place that an answer can be in."""

    def __init__(
        self,
        line: WaitingQueue,
        prefilling: PrefillQueue,
        running: RunningBatch,
        capacity: BatchCapacity,
        reuse: ReuseCache,
        unanswered: PendingCount,
    ) -> None:
        self.broken = ""
        """The error that broke the device; empty while it works."""
        self._line = line
        self._prefilling = prefilling
        self._running = running
        self._capacity = capacity
        self._reuse = reuse
        self._unanswered = unanswered

    @property
    def sequences(self) -> list[TokenSequence]:
        """Answers that have a row, or will have one."""
        return [*self._running.answers, *self._prefilling.answers]

    def pass_failed(self, failed: Pass, error: Exception) -> None:
        """Compute the prompts once more, unpadded and each by itself, so that only the one to blame fails.

        Raises DeviceBroken.
        """
        answers = failed.answers
        if not failed.joint or (len(answers) == 1 and out_of_memory(error)):
            self._blame(answers[0], error, failed)
            return
        self._survive(error)
        log.warning("a pass over %d prompts failed: %s", len(answers), error)
        if not out_of_memory(error):
            _set_apart(answers)
        elif not self._running.drop_idle():
            self._prefilling.shrink(len(answers) // 2)
        self._put_back(answers)

    def step_failed(self, error: Exception) -> None:
        """A failed step names no culprit: each row goes on by itself, and one that fails then is to blame.

        If memory ran out, what is kept for reuse is given back, or else the youngest row makes room. A row
        that was innocent in two failed steps stays by itself to its end. Raises DeviceBroken.
        """
        rows = self._running.answers
        if len(rows) == 1:
            self._blame(rows[0], error)
            return
        self._survive(error)
        log.warning("a step of %d rows failed: %s", len(rows), error)
        if out_of_memory(error):
            spared = self._spare()
            if not spared:
                self._capacity.shrink(len(rows) - 1)
            back = self._running.clear() if self._running.lost else [] if spared else [self._running.youngest]
        else:
            back = self._running.clear()
            for answer in back:
                answer.alone, answer.failed_steps = True, answer.failed_steps + 1
        self._put_back(back)

    def mixed_failed(self, beside: Sequence[TokenSequence], error: Exception) -> None:
        """Take the step once more without the prompts beside it, and compute each of these by itself.

        If memory ran out, what is kept for reuse is given back, too, and fewer prompts share a pass from then
        on. Raises DeviceBroken.
        """
        self._survive(error)
        log.warning("a step beside %d prompts failed: %s", len(beside), error)
        lost = self._running.lost
        rows = self._running.clear() if lost else []
        if out_of_memory(error):
            spared = self._spare()
            if lost and not spared:
                self._capacity.shrink(len(rows) - 1)
            if len(beside) > 1:
                self._prefilling.shrink(len(beside) // 2)
        _set_apart(beside)
        self._put_back([*rows, *beside])

    def acquit(self, answer: TokenSequence) -> None:
        """Its step has succeeded. The others suspected with it take theirs alone before any row goes on."""
        answer.beside = None
        if not answer.alone or answer.failed_steps > 1:
            return
        answer.alone = False
        if any(other.alone for other in self._line.waiting()):
            self._remove(answer)
            self._line.put_behind_suspects(answer)

    @contextmanager
    def blames(self, answer: TokenSequence) -> Iterator[None]:
        """The outermost frame of work for one answer: what it raises ends that answer, and no other.

        Raises DeviceBroken.
        """
        try:
            yield
        except DeviceBroken:
            raise
        except Exception as error:
            self._blame(answer, error)

    def finish(self, answer: TokenSequence) -> None:
        finish = answer.finish()
        self._reuse.keep_answer(answer.content, answer.ids_fed, lambda: self._running.past(answer))
        try:
            self._remove(answer)
        finally:
            self._unanswered.end()
            answer.future.set_result(finish)

    def fail(self, answer: TokenSequence, error: Exception) -> None:
        try:
            self._remove(answer)
        finally:
            self._unanswered.end()
            self._prefilling.forget(answer.siblings)
            answer.fail(error)

    def fail_all(self, error: Exception) -> None:
        everybody = [*self._running.clear(), *self._prefilling.clear(), *self._line.take_all()]
        for answer in dict.fromkeys(everybody):
            self._unanswered.end()
            answer.fail(error)

    def _blame(self, answer: TokenSequence, error: Exception, failed: Pass | None = None) -> None:
        """End the answer, or let it wait if others took the memory, or the `failed` pass was too long for it.

        By itself it has one more try: its own cache is free by then, and another process's need may be over.
        Raises DeviceBroken.
        """
        self._survive(error, answer)
        others = [other for other in self.sequences if other is not answer]
        if out_of_memory(error) and self._running.drop_idle():
            # Nobody's loss, and no try of the answer's: only graphs kept it.
            self._put_back([answer])
        elif out_of_memory(error) and not answer.spared and (self._spare() or not others):
            answer.spared = True
            self._put_back([answer])
        elif out_of_memory(error) and others:
            log.warning("no memory for one row beside %d others", len(others))
            # It may be larger than most, so its failure says nothing about the answers behind it.
            answer.beside = len(others) - 1 if answer.beside is None else len(others) // 2
            # By the time that it runs alone, there may be something to give back again.
            answer.spared = answer.spared and answer.beside > 0
            self._put_back([answer])
        elif out_of_memory(error) and failed and self._prefilling.shorten(failed):
            log.warning("no memory for a pass over %d tokens", failed.tokens)
            self._put_back([] if failed.sequences[0].prefill.rewind() else [answer])
        else:
            self.fail(answer, error)
        if self._running.torn:
            self._put_back(self._running.clear())

    def _survive(self, error: Exception, *blamed: TokenSequence) -> None:
        """Let go of what was computed where it was raised, before memory is given back and more is asked for.

        Raises DeviceBroken.
        """
        traceback.clear_frames(error.__traceback__)
        if not device_broken(error):
            return
        self.broken = str(error)
        for answer in blamed:
            self.fail(answer, error)
        raise DeviceBroken(self.broken) from error

    def _spare(self) -> bool:
        """Give back what is kept for reuse and for siblings; False if there was nothing."""
        forked, self._prefilling.forked = self._prefilling.forked, None
        return self._reuse.give_back() or forked is not None

    def _put_back(self, answers: Sequence[TokenSequence]) -> None:
        """Put answers back in line; prefilled again, they feed the tokens they have, and nothing is lost."""
        try:
            for answer in answers:
                self._remove(answer)
        finally:
            self._line.put_back(answers)
        if self._running.torn:
            return
        try:
            self._running.give_back_memory()
        except (RuntimeError, MemoryError) as error:
            log.warning("no memory to give memory back: %s", error)
            self._line.put_back(self._running.clear())

    def _remove(self, answer: TokenSequence) -> None:
        """Take the answer out of wherever it is, even if this raises DeviceBroken."""
        self._line.leave(answer)
        self._prefilling.remove(answer)
        try:
            self._running.leave(answer)
        except Exception as error:
            # The leaving answer needs no memory any more, and the remaining ones are computed again.
            self._survive(error)
            log.warning("a row could not leave the batch: %s", error)
            self._line.put_back([other for other in self._running.clear() if other is not answer])


def _set_apart(answers: Sequence[TokenSequence]) -> None:
    for answer in answers:
        answer.apart = True
