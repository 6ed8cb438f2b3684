"""The engine's thread, which decides turn by turn which answers join the batch and which leave it.

    while there is work:
        cancelled answers leave
        chunks = next tokens of waiting prompts, as many as decoding rows hardly notice (`Pace`)
        where the model's chunks can lie beside rows:  one pass over rows and chunks
        elsewhere, and now and then to measure both:   a pass over the chunks, then one over the rows
        rows draw a token each; who is over leaves; prompts that are complete join

A pass that fails names no culprit. Prompts are computed again, each by itself; rows of a step are all
computed again, and each takes steps alone (`TokenSequence.alone`) until it has drawn a token: one that fails
alone is to blame. Where memory runs out, what is kept for reuse goes first, then there is one row fewer
(`BatchCapacity.rows`), and one more again once memory has lasted.
"""

import logging
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from worker.engines.base import Cancelled, DeviceBroken, Finish, ProgressClock
from worker.engines.continuous.kv_cache import BatchingError
from worker.engines.continuous.prefill import TILE, Prefill, flat_pass
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.runner import Runner
from worker.engines.continuous.sampling import Choice, Suppressed, greedy, sample_tokens
from worker.engines.continuous.scheduler import MOST, SMALLEST, BatchCapacity, Pace, WaitingQueue
from worker.engines.continuous.sequence import TokenSequence
from worker.engines.loading.devices import Devices, LayerProgress, compute_on
from worker.engines.loading.loaded import LoadedModel
from worker.engines.loading.torch_errors import device_broken, out_of_memory
from worker.engines.sampling.logprobs import Distribution, distributions

log = logging.getLogger("worker.engines.continuous")
# How long a process that is ending waits for the last step.
STOP_S = 5

Chunk = tuple[TokenSequence, Prefill, int]
"""An answer, its prompt, and up to which of its tokens that is computed."""
Drawn = tuple[TokenSequence, Choice | Exception, Distribution | None]


class Loop:
    """Owns the batch; all but `submit` and `stop` runs on its own thread, with its maker's thread count."""

    def __init__(
        self,
        loaded: LoadedModel,
        runner: Runner,
        reuse: ReuseCache,
        capacity: BatchCapacity,
        pace: Pace,
        *,
        flat: bool,
        mixes: bool,
    ) -> None:
        """`flat`: whether one pass may compute several prompts, `mixes`: and also a step."""
        self.progress = ProgressClock()
        self.broken = ""
        """The error that broke the device; empty while it works."""
        self._stacks, self._devices = LayerProgress(loaded.network), Devices(loaded.network)
        self._suppressed = Suppressed(loaded.suppressed)
        self._runner, self._reuse, self._capacity, self._pace = runner, reuse, capacity, pace
        self._flat, self._mixes = flat, mixes
        self._line = WaitingQueue()
        self._prefilling: dict[TokenSequence, Prefill] = {}
        self._running: list[TokenSequence] = []
        self._ended: list[tuple[TokenSequence, Finish | Exception]] = []
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
        self._line.join(answers)
        return [answer.future.result() for answer in answers]

    @property
    def rows(self) -> int:
        """The most that decode at once, as much as memory has lasted for."""
        return self._capacity.rows

    @property
    def prompt_s(self) -> float:
        """Seconds of one prompt's own, as lately."""
        return self._pace.prompt_s

    @torch.inference_mode()
    def _run(self, processors: int) -> None:
        compute_on(processors)
        while self._everybody or self._line.wait():
            self.progress.start()
            try:
                self._turn()
                if self.broken:
                    raise DeviceBroken(self.broken)
            except Exception as error:
                # The outermost frame of this thread: whatever went wrong, nobody may wait for ever.
                log.exception("a turn of the engine failed")
                self._fail_all(error)
            self._hand_over()

    def _hand_over(self) -> None:
        """Once there is rest: who gets an answer may look right then whether the engine works."""
        self.progress.tick()
        if not self._everybody and not len(self._line):
            self.progress.rest()
        ended, self._ended = self._ended, []
        for answer, result in ended:
            if answer.future.done():
                continue  # It had ended when something behind that failed.
            if isinstance(result, Exception):
                answer.future.set_exception(result)
            else:
                answer.future.set_result(result)

    @property
    def _everybody(self) -> list[TokenSequence]:
        """Answers that have a row, or will have one."""
        return [*self._running, *self._prefilling]

    def _turn(self) -> None:
        for answer in [*self._everybody, *self._line.waiting()]:
            if answer.cancelled:
                self._fail(answer, Cancelled())
        self._pace.turn(min(self._capacity.rows, len(self._everybody) + len(self._line)))
        chunks = self._chunks()
        if self._mixes and self._running and chunks and self._joinable(chunks) and self._pace.mixes():
            self._step(chunks)
            return
        for together in [chunks] if self._joinable(chunks) else [[chunk] for chunk in chunks]:
            self._pass(together)
        if self._running:
            self._step([])

    # What of waiting prompts the coming pass computes.

    def _chunks(self) -> list[Chunk]:
        """In order of arrival; prompts are prepared as they are needed."""
        chosen, used, hurried = list[Chunk](), 0, bool(self._running)
        while (left := self._room - used) > 0:
            if len(chosen) == len(self._prefilling):
                if (chosen and hurried and self._pace.over) or not self._begin():
                    break
                continue
            answer, prefill = list(self._prefilling.items())[len(chosen)]
            end = prefill.end(left if hurried or chosen else MOST)
            if end != prefill.pause and prefill.length - end < SMALLEST:
                end = prefill.length
            if chosen and end - prefill.done > left + SMALLEST:
                break  # Its next possible cut is far away: it waits until it is the first.
            chosen.append((answer, prefill, end))
            used += end - prefill.done
        return chosen

    @property
    def _room(self) -> int:
        """Tokens that the coming pass may still take, in whole tiles with the rows beside them."""
        rows = len(self._running) if self._mixes else 0
        most = self._pace.tokens if self._running else self._pace.enough
        return max(SMALLEST, (rows + most) // TILE * TILE - rows)

    def _begin(self) -> bool:
        """Prepare the next prompt in line; False where there is none, or no room for its answer."""
        answer = next(iter(self._line.waiting()), None)
        if answer is None:
            return False
        started = self._pace.clock()
        with self._blames(answer), self._computing([answer]):
            if not self._capacity.admits(answer, self._everybody) or self._follows(answer):
                return False
            if not self._line.take(answer):
                return True  # one before it was put back, or arrived earlier
            computed = answer.siblings.prefill
            if computed is None:
                self._prefilling[answer] = answer.prefill(self._reuse)
                self._pace.begun(self._pace.clock() - started)
            else:
                answer.fork(computed)
                self._enter(answer, computed)
        return True

    def _follows(self, answer: TokenSequence) -> bool:
        """Whether it can reuse a prompt that is being computed."""
        same = any(other.siblings is answer.siblings for other in self._prefilling)
        return same or self._reuse.follows(answer.content, [other.content for other in self._prefilling])

    def _joinable(self, chunks: Sequence[Chunk]) -> bool:
        """Whether one flat pass can compute them."""
        return self._flat and bool(chunks) and all(one.joins(chunks[0][1]) for _, one, _ in chunks)

    # Passes over prompts, and steps.

    @contextmanager
    def _computing(self, answers: Sequence[TokenSequence]) -> Iterator[None]:
        """For work on the answers' prompts that may take long. Raises Cancelled once all are cancelled."""

        def lives() -> None:
            self.progress.tick()
            if all(answer.cancelled for answer in answers):
                raise Cancelled

        with self._stacks.after_each(lives):
            yield

    def _pass(self, chunks: Sequence[Chunk]) -> None:
        tokens, started = sum(end - prefill.done for _, prefill, end in chunks), self._pace.clock()
        joint = self._joinable(chunks)
        try:
            with self._computing([answer for answer, *_ in chunks]):
                if joint:
                    flat_pass(None, [(prefill, end) for _, prefill, end in chunks])
                for _, prefill, end in () if joint else chunks:
                    prefill.advance(end)
                # Nothing is read where a prompt is not complete, and the next step would pay for its time.
                self._devices.wait()
        except Exception as error:
            # The outermost frame of a pass: what it raises may be one prompt's fault, or nobody's.
            if joint and not isinstance(error, Cancelled):
                self._each_alone(chunks, error)
            else:
                for answer, *_ in chunks:
                    self._blame(answer, error)
            return
        self._pace.computed(tokens, self._pace.clock() - started)
        self.progress.tick()
        self._arrived(chunks)

    def _each_alone(self, chunks: Sequence[Chunk], error: Exception) -> None:
        """Compute the prompts of a failed pass once more, each by itself, so that only the one to blame
        fails.

        Raises DeviceBroken.
        """
        self._survive(error)
        log.warning("a pass over %d prompts failed: %s", len(chunks), error)
        if out_of_memory(error):
            self._spare()
        for answer, prefill, end in chunks:
            with self._blames(answer), self._computing([answer]):
                prefill.rewind()
                if prefill.done < end:
                    prefill.advance(end)
                self._arrived([(answer, prefill, end)])

    def _arrived(self, chunks: Sequence[Chunk]) -> None:
        """Prompts that are complete join the rows."""
        for answer, prefill, _ in chunks:
            if prefill.done == prefill.pause:
                with self._blames(answer):
                    self._reuse.keep(answer.content, prefill)
            if prefill.done == prefill.length and answer in self._prefilling:
                with self._blames(answer):
                    del self._prefilling[answer]
                    self._pace.arrived(prefill.length - answer.cached)
                    answer.siblings.prefill = prefill
                    self._reuse.keep(answer.content, prefill)
                    self._enter(answer, prefill)

    def _enter(self, answer: TokenSequence, prefill: Prefill) -> None:
        answer.first(prefill.logits)
        if all(sibling.begun for sibling in answer.siblings.sequences):
            answer.siblings.prefill = None
        if answer.over:
            self._finish(answer)
            return
        try:
            self._runner.join(prefill)
        except BatchingError:
            raise
        except Exception as error:
            # The outermost frame of a change of all rows: they are lost.
            self._running.append(answer)
            self._step_failed(error)
        else:
            self._running.append(answer)

    def _step(self, chunks: Sequence[Chunk]) -> None:
        """One token of every row, with the chunks beside them in one pass."""
        started, rows = self._pace.clock(), len(self._running)
        beside = [(prefill, end) for _, prefill, end in chunks]
        try:
            logits = self._runner.step([answer.next_fed for answer in self._running], beside)
        except Exception as error:
            # The outermost frame of a step: what it raises may be one row's fault, or nobody's.
            if chunks and not self._runner.torn:
                # The rows take their step without the prompts.
                self._pace.separate()
                self._each_alone(chunks, error)
            else:
                self._step_failed(error)
            return
        for answer in self._running:
            answer.count_fed()
        if not any(answer.catches_up for answer in self._running):
            self._capacity.lasted()
        self._draw(logits)
        self.progress.tick()
        if not chunks:
            self._pace.stepped(rows, self._pace.clock() - started)
        self._arrived(chunks)

    def _draw(self, logits: torch.Tensor) -> None:
        try:
            drawn = self._drawn(logits)
            if not drawn:
                self._devices.wait()  # elsewhere drawing does: it reads the logits
        except Exception as error:
            # The outermost frame of drawing for all rows.
            self._step_failed(error)
            return
        for answer, choice, distribution in drawn:
            with self._blames(answer):
                answer.take(choice, distribution)
                if answer.over:
                    self._finish(answer)
                elif answer.alone:
                    self._acquit(answer)

    def _drawn(self, logits: torch.Tensor) -> list[Drawn]:
        """The next token of each row that does not catch up, or the error of drawing it."""
        drawing = {row: answer for row, answer in enumerate(self._running) if not answer.catches_up}
        counts = {row: one.top_logprobs for row, one in drawing.items() if one.top_logprobs is not None}
        some = distributions(logits[list(counts)].to(torch.float32), list(counts.values())) if counts else []
        reported = dict(zip(counts, some, strict=True))
        chosen: dict[int, Choice | Exception] = {}
        plain = [row for row, answer in drawing.items() if answer.sampler.plain]
        others = [row for row in drawing if row not in plain]
        if others:
            samplers = [drawing[row].sampler for row in others]
            # `greedy` may overwrite what it is given: these come first, with a copy.
            own = logits[others].to(torch.float32)
            chosen.update(zip(others, sample_tokens(samplers, own), strict=True))
        if plain:
            own = logits if len(plain) == len(logits) else logits[plain]
            chosen.update(zip(plain, greedy(own, self._suppressed), strict=True))
        return [(answer, chosen[row], reported.get(row)) for row, answer in drawing.items()]

    # Ends and failures.

    def _finish(self, answer: TokenSequence) -> None:
        finish = answer.finish()
        if answer in self._running:
            row = self._running.index(answer)
            self._reuse.keep_answer(answer.content, answer.fed, lambda: self._runner.past(row))
        self._ended.append((answer, finish))
        self._remove(answer)

    def _fail(self, answer: TokenSequence, error: Exception) -> None:
        siblings = answer.siblings
        siblings.failure, siblings.prefill = siblings.failure or error, None
        self._ended.append((answer, siblings.failure))
        self._remove(answer)

    def _fail_all(self, error: Exception) -> None:
        everybody = [*self._everybody, *self._line.waiting()]
        self._running, self._prefilling = [], {}
        self._runner.clear()
        for answer in everybody:
            self._fail(answer, error)

    @contextmanager
    def _blames(self, answer: TokenSequence) -> Iterator[None]:
        """The outermost frame of work for one answer: what it raises ends that answer, and no other.

        Raises DeviceBroken.
        """
        try:
            yield
        except DeviceBroken:
            raise
        except Exception as error:
            self._blame(answer, error)

    def _blame(self, answer: TokenSequence, error: Exception) -> None:
        """End the answer, or let it wait if others took the memory. Raises DeviceBroken."""
        self._survive(error)
        others = [other for other in self._everybody if other is not answer]
        if not out_of_memory(error) or (answer.alone and not others):
            self._fail(answer, error)
            return
        log.warning("no memory for one answer beside %d others", len(others))
        answer.alone = not others
        self._put_back([answer])
        self._capacity.ran_out(len(others), spared=self._spare())

    def _step_failed(self, error: Exception) -> None:
        """Raises DeviceBroken."""
        self._survive(error)
        rows, scarce = self._running, out_of_memory(error)
        log.warning("a step of %d rows failed: %s", len(rows), error)
        # Behind the rows, of which each is alone: else these would wait for whole answers.
        self._put_back([*self._prefilling])
        self._lose_rows()
        if len(rows) == 1 and (rows[0].alone or not scarce):
            self._fail(rows[0], error)
            return
        # Rows that fail only together become fewer, too.
        self._capacity.ran_out(len(rows) - 1, spared=not scarce or self._spare())
        for answer in rows:
            answer.alone = not scarce or len(rows) == 1

    def _acquit(self, answer: TokenSequence) -> None:
        """The others that were in the failed step take theirs alone before any row goes on."""
        answer.alone = False
        if any(other.alone for other in self._line.waiting()):
            self._remove(answer)
            self._line.put_behind_suspects(answer)

    def _survive(self, error: Exception) -> None:
        """Let go of what was computed where it was raised, before memory is given back and more is asked for.

        Raises DeviceBroken.
        """
        traceback.clear_frames(error.__traceback__)
        if device_broken(error):
            self.broken = str(error)
            raise DeviceBroken(self.broken) from error

    def _spare(self) -> bool:
        """Give back what is kept for reuse and by idle graphs; False if there was nothing."""
        idle = self._runner.cache is not None and not self._running
        if idle:
            self._runner.clear()
        kept = self._reuse.give_back()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return idle or kept

    def _put_back(self, answers: Sequence[TokenSequence]) -> None:
        """Put answers back in line; prefilled again, they feed the tokens they have, and nothing is lost."""
        for answer in answers:
            self._remove(answer)
        self._line.put_back(answers)

    def _lose_rows(self) -> None:
        rows, self._running = self._running, []
        self._runner.clear()
        self._line.put_back(sorted(rows, key=lambda answer: answer.row.arrived))

    def _remove(self, answer: TokenSequence) -> None:
        """Take the answer out of wherever it is; raises nothing, so that nobody is forgotten."""
        self._line.leave(answer)
        self._prefilling.pop(answer, None)
        if answer not in self._running:
            return
        row, last = self._running.index(answer), self._running.pop()
        if last is not answer:
            self._running[row] = last
        try:
            self._runner.leave(row)
        except Exception as error:
            # The outermost frame of leaving: the remaining ones are computed again.
            log.warning("a row could not leave the batch: %s", error)
            self._lose_rows()
            self.broken = str(error) if device_broken(error) else self.broken
