"""The engine's thread, which decides turn by turn which answers join the batch and which leave it.

A turn drops cancelled rows, computes chunks of waiting prompts, several in one pass if they fit, and decodes
one step for all rows. If `verify` has proved that the model can, the step computes the chunks in its own
pass. New prompts slow down the rows that decode no more than `PrefillPace` allows.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from worker.engines.base import Cancelled, DeviceBroken, Finish
from worker.engines.continuous.prefill import Prefilled
from worker.engines.continuous.prefill_queue import Chunk, ForkedPrefill, PrefillingSequence, PrefillQueue
from worker.engines.continuous.recovery import Recovery
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.running_batch import RunningBatch
from worker.engines.continuous.scheduler import PendingCount, PrefillAdmission, WaitingQueue
from worker.engines.continuous.sequence import TokenSequence
from worker.engines.continuous.token_budget import BatchCapacity, PassLimits, PrefillPace
from worker.engines.loading.devices import Devices, compute_on
from worker.engines.loading.layer_progress import LayerProgress
from worker.engines.progress import ProgressClock

log = logging.getLogger("worker.engines.continuous")
# How long a process that is ending waits for the last step.
STOP_S = 5


class Loop:
    """Owns the batch; all but `submit` and `stop` runs on its own thread, with its maker's thread count."""

    def __init__(
        self,
        stacks: LayerProgress,
        devices: Devices,
        running: RunningBatch,
        reuse: ReuseCache,
        capacity: BatchCapacity,
        pace: PrefillPace,
        prefilling: PrefillQueue,
    ) -> None:
        self.progress = ProgressClock()
        self._stacks = stacks
        self._devices = devices
        self._running = running
        self._reuse = reuse
        self._capacity = capacity
        self._pace = pace
        self._line = WaitingQueue()
        self._prefilling = prefilling
        self._admission = PrefillAdmission(capacity, reuse, prefilling)
        self._unanswered = PendingCount(self.progress)
        self._recovery = Recovery(self._line, prefilling, running, capacity, reuse, self._unanswered)
        processors = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, args=(processors,), name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread once no answer is left. Python aborts if it exits while a thread is inside torch."""
        self._line.close()
        if self._thread is not threading.current_thread():
            self._thread.join(STOP_S)

    def submit(self, answers: Sequence[TokenSequence]) -> list[Finish]:
        """Wait until all are finished. Raises the failure of the first one that failed, and DeviceBroken."""
        if self.broken:
            raise DeviceBroken(self.broken)
        self._unanswered.come(len(answers))
        self._line.join(answers)
        return [answer.future.result() for answer in answers]

    @property
    def rows(self) -> int:
        """The most that decode at once, as much as memory has lasted for."""
        return self._capacity.rows

    @property
    def prompt_s(self) -> float:
        """Seconds of one prompt's own, as those that were begun lately took them."""
        return self._pace.prompt_s

    @property
    def broken(self) -> str:
        """What broke the device, or nothing."""
        return self._recovery.broken

    @torch.inference_mode()
    def _run(self, processors: int) -> None:
        compute_on(processors)
        while self._prefilling.sequences or self._running.answers or self._line.wait():
            try:
                self._turn()
            except Exception as error:
                # The outermost frame of this thread: whatever went wrong, nobody may wait for ever.
                log.exception("a turn of the engine failed")
                self._recovery.fail_all(error)

    @contextmanager
    def _computing(self, answers: Sequence[TokenSequence]) -> Iterator[None]:
        """For work on the answers' prompts that may take long. Raises Cancelled once all are cancelled."""

        def lives() -> None:
            self.progress.tick()
            if all(answer.cancelled for answer in answers):
                raise Cancelled

        with self._stacks.after_each(lives):
            yield

    def _turn(self) -> None:
        self._let_go()
        self._pace.turn(self._expected)
        chunks = self._chunks()
        while not chunks and self._advance() and self._pace.lasts():
            pass
        if self._running.answers:
            self._step(chunks)

    @property
    def _expected(self) -> int:
        """Rows that will decode once the waiting answers have joined."""
        return min(self._capacity.rows, len(self._recovery.sequences) + len(self._line))

    def _advance(self) -> bool:
        """Compute a pass over waiting prompts; False if there was none."""
        self._fork()
        self._begin()
        if waiting := bool(self._prefilling.sequences):
            self._pass()
        return waiting

    @property
    def _limits(self) -> PassLimits:
        return self._pace.limits(hurried=bool(self._running.answers)).within(self._prefilling.longest)

    def _let_go(self) -> None:
        """Cancelled rows leave before anything more is computed for them."""
        for answer in self._line.take_cancelled() + [
            suspended for suspended in self._recovery.sequences if suspended.cancelled
        ]:
            self._recovery.fail(answer, Cancelled())

    def _chunks(self) -> list[Chunk]:
        """Chunks of waiting prompts for the coming step to compute in its pass."""
        if not (self._running.answers and self._prefilling.mixes):
            return []
        self._fork()
        if not self._pace.mixes(len(self._running.answers)):
            return []
        self._begin()
        # The limits are read again: preparing the prompts used up some of the time that rows may wait.
        return self._prefilling.chunks(self._limits.tokens, len(self._running.answers))

    def _begin(self) -> None:
        """Prepare the waiting prompts that the next pass can compute."""
        waiting, started = self._line.waiting(), time.perf_counter()
        chosen = waiting and self._admission.next(waiting, self._running.answers, self._limits)
        if not chosen:
            return
        with self._computing(chosen), self._reuse.encoding_ahead([answer.content for answer in chosen]):
            before = self._prefilling.tokens
            for answer in chosen:
                if not self._line.take(answer):
                    break  # one before it was put back, or arrived earlier
                with self._recovery.blames(answer):
                    self._prefilling.add(answer, answer.prefill(self._reuse))
        # A device has computed what it began: each prompt's ids were read from it.
        tokens = max(0, self._prefilling.tokens - before)
        self._pace.begun(len(chosen), tokens, time.perf_counter() - started)

    def _fork(self) -> None:
        """Let waiting siblings of the prompt that was computed last join at once."""
        while self._prefilling.forked is not None and (answer := self._line.head()) is not None:
            if self._prefilling.forked.siblings is not answer.siblings or not self._admission.admits(
                answer, self._recovery.sequences
            ):
                return
            if not self._line.take(answer):
                return
            with self._recovery.blames(answer):
                answer.fork(self._prefilling.forked.prefill)
                answer.first(self._prefilling.forked.prefilled.logits)
                self._enter(answer, self._prefilling.forked)

    def _pass(self) -> None:
        together, started = self._prefilling.next(self._limits), time.perf_counter()
        tokens = together.tokens
        try:
            with self._computing(together.answers):
                prefilled = together.compute()
                # Nothing is read where a prompt is not complete, and the next step would pay for its time.
                self._devices.wait()
        except Cancelled as left:
            for answer in together.answers:
                self._recovery.fail(answer, left)
            return
        except Exception as error:
            # The outermost frame of a pass: what it raises may be one prompt's fault, or nobody's.
            self._recovery.pass_failed(together, error)
            return
        self._pace.prefilled(tokens, time.perf_counter() - started)
        self._prefilling.lasted(len(prefilled), tokens)
        self.progress.tick()
        self._arrived(together.sequences, prefilled)

    def _arrived(self, sequences: Sequence[PrefillingSequence], found: Sequence[Prefilled | None]) -> None:
        for sequence, prefilled in zip(sequences, found, strict=True):
            if prefilled is not None:
                with self._recovery.blames(sequence.answer):
                    self._arrive(sequence, prefilled)

    def _arrive(self, sequence: PrefillingSequence, prefilled: Prefilled) -> None:
        self._prefilling.remove(answer := sequence.answer)
        answer.first(prefilled.logits)
        self._reuse.keep(answer.content, prefilled)
        self._enter(answer, ForkedPrefill(answer.siblings, sequence.prefill, prefilled))

    def _enter(self, answer: TokenSequence, computed: ForkedPrefill) -> None:
        waiting = {one.siblings for one in self._line.waiting()}
        candidates = (one for one in (computed, self._prefilling.forked) if one and one.siblings in waiting)
        self._prefilling.forked = next(candidates, None)
        if answer.over:
            self._recovery.finish(answer)
        else:
            self._running.enter(answer, computed.prefilled)

    def _step(self, chunks: Sequence[Chunk]) -> None:
        rows, started = len(self._running.answers), time.perf_counter()
        beside, tokens = [chunk.sequence for chunk in chunks], sum(chunk.tokens for chunk in chunks)
        try:
            choices, arrived = self._running.step(chunks)
            if not choices:
                self._devices.wait()  # elsewhere drawing does: it reads the logits
        except Exception as error:
            # The outermost frame of a step: what it raises may be one row's fault, or nobody's.
            if beside:
                self._recovery.mixed_failed([sequence.answer for sequence in beside], error)
            else:
                self._recovery.step_failed(error)
            return
        self._capacity.lasted(rows)
        self._prefilling.lasted(len(beside), tokens)
        self.progress.tick()
        # If one answer runs out of memory, those after it may be back in line; they draw when they return.
        for answer, choice, distribution in (one for one in choices if one[0] in self._running):
            with self._recovery.blames(answer):
                answer.take(choice, distribution)
                if answer.over:
                    self._recovery.finish(answer)
                else:
                    self._recovery.acquit(answer)
        if chunks:
            self._pace.mixed()
        else:
            self._pace.stepped(rows, time.perf_counter() - started)
        self._arrived(beside, arrived)
