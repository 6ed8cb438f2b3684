"""The engine's thread: who joins the batch when, who leaves, and what is done when something breaks.

One turn is: let go of cancelled rows, compute pieces of waiting prompts, decode one step for all rows.
Nobody decodes any slower for others' prompts than `Pace` allows.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from worker.engines.base import Cancelled, DeviceBroken, Finish
from worker.engines.continuous.answer import Answer, Kin
from worker.engines.continuous.faults import device_broken, out_of_memory
from worker.engines.continuous.line import Line
from worker.engines.continuous.pace import Pace
from worker.engines.continuous.prefill import Prefill, Prefilled
from worker.engines.continuous.ration import Ration
from worker.engines.continuous.reuse import Reuse
from worker.engines.continuous.running import Running
from worker.engines.pulse import Pulse

log = logging.getLogger(__name__)
# How long a process that ends waits for the last step.
STOP_S = 5


@dataclass(frozen=True)
class Forked:
    """A prompt that was computed for one of its rows, while others wait for room."""

    kin: Kin
    prefill: Prefill
    prefilled: Prefilled


class Loop:
    """Owns the batch; everything but `submit` and `stop` happens on its own thread."""

    def __init__(self, running: Running, reuse: Reuse, ration: Ration, pace: Pace) -> None:
        self.pulse = Pulse()
        self.broken = ""
        self._running = running
        self._reuse = reuse
        self._ration = ration
        self._pace = pace
        self._line = Line()
        self._joining: tuple[Answer, Prefill] | None = None
        self._forked: Forked | None = None
        self._lock = threading.Lock()
        self._open = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread once nobody is left. An interpreter that ends under a thread of torch's aborts."""
        self._line.close()
        if self._thread is not threading.current_thread():
            self._thread.join(STOP_S)

    def submit(self, answers: Sequence[Answer]) -> list[Finish]:
        """Wait for the end of all. Raises what ended the first that failed, and DeviceBroken."""
        if self.broken:
            raise DeviceBroken(self.broken)
        with self._lock:
            if not self._open:
                self.pulse.start()
            self._open += len(answers)
        self._line.join(answers)
        return [answer.future.result() for answer in answers]

    @torch.inference_mode()
    def _run(self) -> None:
        while self._joining or self._running.answers or self._line.wait():
            try:
                self._turn()
            except Exception as error:
                # The outermost frame of this thread: whatever went wrong, nobody may wait for ever.
                log.exception("a turn of the engine failed")
                self._fail_all(error)

    def _turn(self) -> None:
        self._let_go()
        self._pace.turn(self._expected)
        while self._advance() and self._pace.patient:
            pass
        if self._running.answers:
            self._step()

    @property
    def _expected(self) -> int:
        """Rows that will decode once those who wait have joined."""
        waiting = len(self._line) + (self._joining is not None)
        return min(self._ration.rows, len(self._running.answers) + waiting)

    def _advance(self) -> bool:
        """A piece of a prompt; whether there was any to compute."""
        if self._joining is None:
            self._begin()
        if self._joining is None:
            return False
        self._prefill(*self._joining)
        return True

    def _let_go(self) -> None:
        """Cancelled rows leave before anything more is computed for them."""
        held = [*self._running.answers, *([self._joining[0]] if self._joining else [])]
        for answer in self._line.take_cancelled() + [answer for answer in held if answer.cancelled]:
            self._fail(answer, Cancelled())

    def _begin(self) -> None:
        """The first in line, and nobody else, so that a long prompt is not overtaken for ever.

        Whose prompt has just been computed joins at once.
        """
        while self._joining is None and (head := self._line.head()) is not None and self._admits(head):
            answer = self._line.take()
            with self._blames(answer):
                if self._forked is not None and self._forked.kin is answer.kin:
                    self._fork(answer, self._forked)
                else:
                    self._joining = (answer, answer.prefill(self._reuse))

    def _fork(self, answer: Answer, forked: Forked) -> None:
        answer.fork(forked.prefill)
        answer.first(forked.prefilled.logits)
        self._enter(answer, forked)

    def _admits(self, answer: Answer) -> bool:
        running = self._running.answers
        if any(other.alone for other in running) or (answer.alone and running):
            return False
        return self._ration.admits([other.length for other in [*running, answer]])

    def _prefill(self, answer: Answer, prefill: Prefill) -> None:
        before, started = prefill.done, time.perf_counter()
        with self._blames(answer):
            prefilled = prefill.advance(self._pace.chunk if self._running.answers else None)
            self._pace.prefilled(prefill.done - before, time.perf_counter() - started)
            self.pulse.tick()
            if prefilled is not None:
                self._joining = None
                answer.first(prefilled.logits)
                self._reuse.keep(answer.content, prefilled)
                self._enter(answer, Forked(answer.kin, prefill, prefilled))

    def _enter(self, answer: Answer, computed: Forked) -> None:
        head = self._line.head()
        self._forked = computed if head is not None and head.kin is answer.kin else None
        if answer.over:
            self._finish(answer)
        else:
            self._running.enter(answer, computed.prefilled)

    def _step(self) -> None:
        rows, started = len(self._running.answers), time.perf_counter()
        try:
            drawn = self._running.step()
        except Exception as error:
            # The outermost frame of a step: what it raises may be one row's fault, or nobody's.
            self._step_failed(error)
            return
        self.pulse.tick()
        for answer, found, seen in drawn:
            answer.alone = answer.alone and answer.failed_steps > 1
            with self._blames(answer):
                answer.take(found, seen)
                if answer.over:
                    self._finish(answer)
        self._pace.stepped(rows, time.perf_counter() - started)

    def _step_failed(self, error: Exception) -> None:
        """A step names no culprit: without memory the youngest makes room, else each goes on by itself.

        What is kept for later requests makes room before any row does. Whoever fails by itself is to blame. A
        row innocent of two failed steps stays by itself to its end.
        """
        rows = self._running.answers
        if len(rows) == 1:
            self._blame(rows[0], error)
            return
        if device_broken(error):
            self.broken = str(error)
            raise DeviceBroken(self.broken) from error
        log.warning("a step of %d rows failed: %s", len(rows), error)
        if out_of_memory(error):
            spared = self._spare()
            if not spared:
                self._ration.shrink(len(rows) - 1)
            lost = self._running.recurrent or self._running.torn
            back = self._running.clear() if lost else [] if spared else [self._running.youngest]
        else:
            back = self._running.clear()
            for answer in back:
                answer.alone, answer.failed_steps = True, answer.failed_steps + 1
        self._put_back(back)

    @contextmanager
    def _blames(self, answer: Answer) -> Iterator[None]:
        """The outermost frame of work for one answer: what it raises ends that answer, and no other."""
        try:
            yield
        except Exception as error:
            self._blame(answer, error)

    def _blame(self, answer: Answer, error: Exception) -> None:
        """End the answer, or let it wait where others took the memory. Raises DeviceBroken."""
        if device_broken(error):
            self.broken = str(error)
            self._fail(answer, error)
            raise DeviceBroken(self.broken) from error
        others = [other for other in self._running.answers if other is not answer]
        if out_of_memory(error) and not answer.spared and self._spare():
            answer.spared = True
            self._put_back([answer])
        elif out_of_memory(error) and others:
            log.warning("no memory for one row beside %d others", len(others))
            self._ration.shrink(len(others))
            self._put_back([answer])
        else:
            self._fail(answer, error)
        if self._running.torn:
            self._put_back(self._running.clear())

    def _spare(self) -> bool:
        """Give back what is kept for others; whether there was anything."""
        forked, self._forked = self._forked, None
        return self._reuse.give_back() or forked is not None

    def _put_back(self, answers: list[Answer]) -> None:
        """They are prefilled again and feed the tokens they have: nobody can tell from the answer."""
        for answer in answers:
            self._remove(answer)
        self._line.put_back(answers)
        if self._running.torn:
            return
        try:
            self._running.give_back_memory()
        except (RuntimeError, MemoryError) as error:
            log.warning("no memory to give memory back: %s", error)
            self._line.put_back(self._running.clear())

    def _finish(self, answer: Answer) -> None:
        finish = answer.finish()
        self._reuse.keep_answer(answer.content, answer.ids_fed, lambda: self._running.past(answer))
        self._remove(answer)
        self._close()
        answer.future.set_result(finish)

    def _fail(self, answer: Answer, error: Exception) -> None:
        self._remove(answer)
        self._close()
        if self._forked is not None and self._forked.kin is answer.kin:
            self._forked = None
        answer.fail(error)

    def _fail_all(self, error: Exception) -> None:
        joining = [self._joining[0]] if self._joining else []
        self._joining = self._forked = None
        for answer in [*self._running.clear(), *joining, *self._line.take_all()]:
            self._close()
            answer.fail(error)

    def _remove(self, answer: Answer) -> None:
        self._running.leave(answer)
        if self._joining and self._joining[0] is answer:
            self._joining = None

    def _close(self) -> None:
        """Before the answer is handed over: its reader may look at the pulse then."""
        with self._lock:
            self._open -= 1
            if not self._open:
                self.pulse.rest()
