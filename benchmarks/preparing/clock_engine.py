"""An engine whose device is a clock: it prepares prompts as the real one does, and only pretends to compute.

A step takes `step_ms`; prompts join it, at most `chunk` tokens a step, at `rate` tokens a second. The host
works for `host_ms` of each step with real torch calls, as an eager model's does, while the device computes.
Each prompt's tensors are copied once, as to a device.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from shared.models import Model
from shared.result import Piece
from worker.engines.base import Cancelled, Engine, Finish, Row
from worker.engines.continuous.engine import ContinuousEngine
from worker.engines.loading.loaded import LoadedModel


@dataclass(frozen=True)
class Device:
    """Times in ms, `rate` in prompt tokens a second, `chunk` in tokens of a step."""

    step_ms: float
    rate: float
    host_ms: float
    chunk: int = 1024

    def allows(self, tokens: int, answer: int, rows: int) -> float:
        """Requests a second of such prompts and answers, if it never waits."""
        return 1 / (tokens / self.rate + answer * self.step_ms / 1000 / rows)


@dataclass(eq=False)
class ClockSequence:
    """A row at work; `left` are tokens of its prompt, then of its answer."""

    row: Row
    left: int
    inputs: Any
    began: float = 0.0
    future: "Future[Finish]" = field(default_factory=Future)


class ClockEngine(ContinuousEngine):
    """`first` is called with a row as its first token comes."""

    def __init__(self, model: Model, device: Device, first: Callable[[Row], None]) -> None:
        super().__init__(model)
        self.busy_s = 0.0
        self.device, self._first = device, first
        self._changed = threading.Condition()
        self._waiting = deque[ClockSequence]()
        self._prompts = deque[ClockSequence]()
        self._rows: list[ClockSequence] = []
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._mean_tokens = 0.0

    def start(self, loaded: LoadedModel) -> None:
        # As for any device but the CPU, where it is done by now; earlier commits cannot.
        if not getattr(loaded.renderer, "pixels", None):
            getattr(loaded, "stop_at_bytes", lambda: None)()
        super().start(loaded)

    def load(self) -> Engine:
        super().load()
        threading.Thread(target=self._run, name="clock", daemon=True).start()
        return self

    def generate_all(self, rows: Sequence[Row]) -> list[Finish]:
        sequences = [ClockSequence(row, row.prompt.tokens, row.prompt.inputs) for row in rows]
        with self._changed:
            self._waiting.extend(sequences)
            self._changed.notify()
        return [sequence.future.result() for sequence in sequences]

    @property
    def prompt_s(self) -> float:
        return self._mean_tokens / self.device.rate

    def idle_s(self) -> float:
        return 0.0

    @property
    def longest_step_s(self) -> float:
        return 0.0

    def _run(self) -> None:
        with torch.inference_mode():
            self._weights = torch.randn(64, 64)
            self._loops = self._calibrated()
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._prompts or self._rows)
                self._step()

    def _step(self) -> None:
        began = time.perf_counter()
        tokens, arrived = self._prefill()
        took = tokens / self.device.rate + (self.device.step_ms / 1000 if self._rows or arrived else 0)
        self._host()
        if (rest := began + took - time.perf_counter()) > 0:
            time.sleep(rest)
        self.busy_s += took
        for sequence in arrived:
            self._arrive(sequence)
        self._rows += arrived
        for sequence in self._rows:
            self._advance(sequence)
        self._rows = [sequence for sequence in self._rows if not sequence.future.done()]

    def _prefill(self) -> tuple[int, list[ClockSequence]]:
        """The tokens of prompts that this step computes, and the sequences whose prompts it completes."""
        tokens, arrived = 0, list[ClockSequence]()
        while tokens < self.device.chunk and self._begin():
            sequence = self._prompts[0]
            part = min(sequence.left, self.device.chunk - tokens)
            sequence.left, tokens = sequence.left - part, tokens + part
            if not sequence.left:
                arrived.append(self._prompts.popleft())
        return tokens, arrived

    def _begin(self) -> bool:
        """Whether a prompt is there to compute: the one begun, or the next one where a row is free."""
        with self._changed:
            if not self._prompts and self._waiting and len(self._rows) < self.rows:
                self._prompts.append(sequence := self._waiting.popleft())
                # Earlier commits have no such notice.
                getattr(sequence.row, "on_begin", lambda: None)()
                self._mean_tokens += (sequence.left - self._mean_tokens) / 4
                self._copy(sequence)
                sequence.began = time.monotonic()
        return bool(self._prompts)

    def _copy(self, sequence: ClockSequence) -> None:
        for value in sequence.inputs.inputs.values():
            if torch.is_tensor(value):
                flat = value.reshape(-1).view(torch.uint8)
                if len(self._memory) < len(flat):
                    self._memory = torch.empty(len(flat), dtype=torch.uint8)
                self._memory[: len(flat)].copy_(flat)
        sequence.inputs = None

    def _arrive(self, sequence: ClockSequence) -> None:
        sequence.left = sequence.row.parameters.max_new_tokens or 1
        self._first(sequence.row)
        sequence.row.emit(Piece(0, "x", (0,)))

    def _advance(self, sequence: ClockSequence) -> None:
        sequence.left -= 1
        if sequence.row.cancel.is_set():
            sequence.future.set_exception(Cancelled())
        elif sequence.left <= 0:
            compute_s = time.monotonic() - sequence.began
            sequence.future.set_result(Finish("length", "x", (0,), compute_s, began=sequence.began))

    def _host(self) -> None:
        product = self._weights
        for _ in range(self._loops):
            product = torch.nn.functional.linear(product, self._weights).mul_(0.01).add_(1)

    def _calibrated(self) -> int:
        """How many loops take the host's time of one step."""
        self._loops = 200
        took = min(self._host_s() for _ in range(5))
        return round(self._loops * self.device.host_ms / 1000 / took)

    def _host_s(self) -> float:
        began = time.thread_time()
        self._host()
        return time.thread_time() - began
