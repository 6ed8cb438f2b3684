"""The engine's thread: who joins the batch when, who leaves, and what is done when something breaks.

One turn is: let go of cancelled rows, compute pieces of waiting prompts, of several at once where they fit,
decode one step for all rows. Nobody decodes any slower for others' prompts than `Pace` allows.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import torch

from worker.engines.base import Cancelled, DeviceBroken, Finish
from worker.engines.continuous.answer import Answer
from worker.engines.continuous.entrance import Entrance
from worker.engines.continuous.faults import device_broken, out_of_memory
from worker.engines.continuous.joining import Forked, Joining, Newcomer
from worker.engines.continuous.line import Line
from worker.engines.continuous.pace import Pace, Room
from worker.engines.continuous.prefill import Prefilled
from worker.engines.continuous.ration import Ration
from worker.engines.continuous.reuse import Reuse
from worker.engines.continuous.running import Running
from worker.engines.continuous.unanswered import Unanswered
from worker.engines.pulse import Pulse
from worker.engines.threads import compute_on

log = logging.getLogger(__name__)
# How long a process that ends waits for the last step.
STOP_S = 5


class Loop:
    """Owns the batch; all but `submit` and `stop` happens on its own thread, on its maker's processors."""

    def __init__(self, running: Running, reuse: Reuse, ration: Ration, pace: Pace, joining: Joining) -> None:
        self.pulse, self.broken = Pulse(), ""
        self._running = running
        self._reuse = reuse
        self._ration = ration
        self._pace = pace
        self._line = Line()
        self._joining = joining
        self._entrance = Entrance(ration, reuse, joining)
        self._forked: Forked | None = None
        self._unanswered = Unanswered(self.pulse)
        processors = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, args=(processors,), name="engine", daemon=True)

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
        self._unanswered.come(len(answers))
        self._line.join(answers)
        return [answer.future.result() for answer in answers]

    @torch.inference_mode()
    def _run(self, processors: int) -> None:
        compute_on(processors)
        while self._joining.newcomers or self._running.answers or self._line.wait():
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
    def _held(self) -> list[Answer]:
        """Those that have a row, or will have one."""
        return [*self._running.answers, *self._joining.answers]

    @property
    def _expected(self) -> int:
        """Rows that will decode once those who wait have joined."""
        return min(self._ration.rows, len(self._held) + len(self._line))

    def _advance(self) -> bool:
        """A pass over waiting prompts; whether there was any to compute."""
        self._fork()
        self._begin()
        if waiting := bool(self._joining.newcomers):
            self._pass()
        return waiting

    @property
    def _room(self) -> Room:
        return self._pace.room(hurried=bool(self._running.answers))

    def _let_go(self) -> None:
        """Cancelled rows leave before anything more is computed for them."""
        for answer in self._line.take_cancelled() + [held for held in self._held if held.cancelled]:
            self._fail(answer, Cancelled())

    def _begin(self) -> None:
        """Make those ready whose prompts the next pass can compute."""
        waiting, started = self._line.waiting(), time.perf_counter()
        chosen = waiting and self._entrance.next(waiting, self._running.answers, self._room)
        if not chosen:
            return
        with self._reuse.looking([answer.content for answer in chosen]):
            for answer in chosen:
                if self._line.head() is not answer:
                    break  # one before it was put back
                self._line.take()
                with self._blames(answer):
                    self._joining.add(answer, answer.prefill(self._reuse))
        self._pace.begun(len(chosen), time.perf_counter() - started)

    def _fork(self) -> None:
        """Whose prompt has just been computed for its kin joins at once."""
        while self._forked is not None and (answer := self._line.head()) is not None:
            if self._forked.kin is not answer.kin or not self._entrance.admits(answer, self._held):
                return
            self._line.take()
            with self._blames(answer):
                answer.fork(self._forked.prefill)
                answer.first(self._forked.prefilled.logits)
                self._enter(answer, self._forked)

    def _pass(self) -> None:
        together, started = self._joining.next(self._room), time.perf_counter()
        tokens = together.tokens
        try:
            found = together.compute()
        except Exception as error:
            # The outermost frame of a pass: what it raises may be one prompt's fault, or nobody's.
            self._pass_failed(together.answers, error, joint=together.joint)
            return
        self._pace.prefilled(tokens, time.perf_counter() - started)
        self.pulse.tick()
        for newcomer, prefilled in zip(together.newcomers, found, strict=True):
            if prefilled is not None:
                with self._blames(newcomer.answer):
                    self._arrive(newcomer, prefilled)

    def _arrive(self, newcomer: Newcomer, prefilled: Prefilled) -> None:
        self._joining.remove(answer := newcomer.answer)
        answer.first(prefilled.logits)
        self._reuse.keep(answer.content, prefilled)
        self._enter(answer, Forked(answer.kin, newcomer.prefill, prefilled))

    def _enter(self, answer: Answer, computed: Forked) -> None:
        head, held = self._line.head(), (computed, self._forked)
        self._forked = next((one for one in held if one and head and one.kin is head.kin), None)
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
        # Where one leaves no memory, those behind it may be in line again: they draw when they come back.
        for answer, found, seen in (one for one in drawn if one[0] in self._running):
            answer.alone = answer.alone and answer.failed_steps > 1
            with self._blames(answer):
                answer.take(found, seen)
                if answer.over:
                    self._finish(answer)
        self._pace.stepped(rows, time.perf_counter() - started)

    def _pass_failed(self, answers: Sequence[Answer], error: Exception, *, joint: bool) -> None:
        """Prompts are computed once more, each by itself and as it is; whoever is to blame fails then."""
        if not joint or (len(answers) == 1 and out_of_memory(error)):
            self._blame(answers[0], error)
            return
        if device_broken(error):
            self._break(error)
        log.warning("a pass over %d prompts failed: %s", len(answers), error)
        if out_of_memory(error):
            self._joining.shrink(len(answers) // 2)
        else:
            for answer in answers:
                answer.apart = True
        self._put_back(answers)

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
            self._break(error)
        log.warning("a step of %d rows failed: %s", len(rows), error)
        if out_of_memory(error):
            spared = self._spare()
            if not spared:
                self._ration.shrink(len(rows) - 1)
            back = self._running.clear() if self._running.lost else [] if spared else [self._running.youngest]
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
            self._break(error, answer)
        others = [other for other in self._held if other is not answer]
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

    def _break(self, error: Exception, *blamed: Answer) -> NoReturn:
        self.broken = str(error)
        for answer in blamed:
            self._fail(answer, error)
        raise DeviceBroken(self.broken) from error

    def _spare(self) -> bool:
        """Give back what is kept for others; whether there was anything."""
        forked, self._forked = self._forked, None
        return self._reuse.give_back() or forked is not None

    def _put_back(self, answers: Sequence[Answer]) -> None:
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
        self._unanswered.end()
        answer.future.set_result(finish)

    def _fail(self, answer: Answer, error: Exception) -> None:
        self._remove(answer)
        self._unanswered.end()
        if self._forked is not None and self._forked.kin is answer.kin:
            self._forked = None
        answer.fail(error)

    def _fail_all(self, error: Exception) -> None:
        self._forked = None
        for answer in [*self._running.clear(), *self._joining.clear(), *self._line.take_all()]:
            self._unanswered.end()
            answer.fail(error)

    def _remove(self, answer: Answer) -> None:
        self._running.leave(answer)
        self._joining.remove(answer)
