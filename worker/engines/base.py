"""The contract every engine meets; `tests/engines/suite.py` is its proof.

One engine per worker process holds the model. Task threads call `prepare` and `generate`, from several
threads at once; the engine decides what runs together. Nothing here knows Redis, Celery or HTTP.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image as Picture

from shared.request import Parameters, Request
from shared.result import FinishReason


class Cancelled(Exception):  # noqa: N818 - an outcome, not an error
    """The row was stopped because its `Row.cancel` was set."""


class DeviceBroken(Exception):  # noqa: N818 - a state of the machine, not of the request
    """The device computes nothing more for this process: its work is given back, and the worker exits."""


@dataclass(frozen=True)
class Prompt:
    """A request made ready for one engine: token counts, and `inputs` only that engine understands."""

    tokens: int
    image_tokens: int
    inputs: Any = field(repr=False)


@dataclass(frozen=True)
class Piece:
    """What one or more steps added: whole characters only, with the token ids that made them.

    `start` is the offset of `text` in the answer, in code points. `ids` may be held back until their
    characters are complete, never dropped.
    """

    start: int
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Finish:
    """How a row ended. `ids` and `text` cover the whole answer, a resumed part included.

    The last digits of `score` may depend on what else was computed.

    `compute_s` is the time from the row's first step on; its wait for a place in the engine is not in it.
    """

    reason: FinishReason
    text: str
    ids: tuple[int, ...]
    compute_s: float = field(compare=False)
    score: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Row:
    """One answer being generated.

    `published` are token ids an earlier attempt already gave to readers, `published_text` what they read:
    generation goes on right behind them. `emit` is called with each new piece, in order, from any thread,
    and must be quick. Setting `cancel` ends the row at the next step with `Cancelled`.
    """

    prompt: Prompt
    parameters: Parameters
    emit: Callable[[Piece], None]
    cancel: threading.Event
    published: tuple[int, ...] = ()
    published_text: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """What a worker publishes about its loaded model."""

    context_length: int
    samples: bool
    has_chat_template: bool


class Engine(ABC):
    """Load once, then generate for as long as the process lives."""

    name: str
    rows: int
    reason: str = ""
    """Why this engine serves the model, or why no better one does; known after `load`."""

    @abstractmethod
    def load(self) -> None:
        """Load the model; slow. Raises any exception where the model cannot be loaded as configured."""

    def load_guess(self) -> tuple[float, str]:
        """Seconds the first load may take, before any was measured, and what that rests on."""
        return 1.0, "guess"

    @property
    @abstractmethod
    def facts(self) -> ModelFacts:
        """Known after `load`."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Known after `load`: 32 hex digits over everything that changes answers.

        Weights, processor, template, generation config, dtype, quantization, attention, engine, and the size
        pictures are shrunk to.
        """

    @abstractmethod
    def prepare(self, request: Request, pictures: Sequence[Picture]) -> Prompt:
        """Turn a request and its decoded RGB pictures (reading order) into a prompt.

        Raises CallerError: `context_length_exceeded`, `no_chat_template`, `invalid_request`, `invalid_image`.
        """

    @abstractmethod
    def generate(self, row: Row) -> Finish:
        """Generate to the end, blocking the calling thread.

        Raises Cancelled, DeviceBroken, CallerError `invalid_request` for parameters that this model cannot be
        run with.
        """

    @abstractmethod
    def idle_s(self) -> float:
        """Seconds since the engine last made progress while it had work; 0 while it has none."""

    @property
    @abstractmethod
    def longest_step_s(self) -> float:
        """The longest that any progress has taken so far; 0 before the first."""

    @property
    def broken(self) -> bool:
        """Whether the device is lost, so that only a new process can go on; see DeviceBroken."""
        return False
