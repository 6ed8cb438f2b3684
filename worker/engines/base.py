"""The contract every engine meets; `tests/engines/suite.py` is its proof.

One engine per worker process holds the model. Task threads call `prepare` and `generate`, from several
threads at once; the engine decides what runs together. Nothing here knows Redis, Celery or HTTP.
"""

import threading
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from PIL.Image import Image as Picture

from shared.calls.syntax import Known, Syntax
from shared.errors import CallerError
from shared.estimate import Reused
from shared.logprobs import Logprobs
from shared.piece import Piece
from shared.request import Parameters, Request
from shared.result import FinishReason

Samples: TypeAlias = "array[float]"
"""A sound: mono, 32-bit floats of -1 to 1, at the rate that the model listens at."""
Facts: TypeAlias = "dict[str, str | int | float | bool | None]"


class Cancelled(Exception):  # noqa: N818 - an outcome, not an error
    """The row was stopped because its `Row.cancel` was set."""


class DeviceBroken(Exception):  # noqa: N818 - a state of the machine, not of the request
    """The device computes nothing more for this process: its work is given back, and the worker exits."""


@dataclass(frozen=True)
class Prompt:
    """A request made ready for one engine: token counts, and `inputs` only that engine understands.

    Among `tokens` are `image_tokens` and `audio_tokens`. `syntax` is the form in which the answer may call
    functions, None where it shows none. `ends_open`: its last words are those of the text that the answer
    goes on with, so that a space between the two is the answer's. `trimmed` are the blanks at that text's end
    which the prompt lacks, because the chat template trims it: an answer need not say them again.
    """

    tokens: int
    image_tokens: int
    inputs: Any = field(repr=False)
    syntax: Syntax | None = None
    audio_tokens: int = 0
    ends_open: bool = False
    trimmed: str = ""


@dataclass(frozen=True)
class Finish:
    """How a row ended. `ids` and `text` cover the whole answer, a resumed part included.

    The last digits of `score` and `logprobs` may depend on what else was computed. `logprobs` are None where
    the request asks for none; tokens behind the text's end, such as the one that ends it, have none.
    `cut`: a text of `stop` ended it.

    `compute_s` is the time from the row's first step on, which was at `began` (s, monotonic); its wait for a
    place in the engine is not in it.
    `cached_tokens` of the prompt were in memory from earlier requests and not computed.
    """

    reason: FinishReason
    text: str
    ids: tuple[int, ...]
    compute_s: float = field(compare=False)
    score: float | None = field(default=None, compare=False)
    logprobs: Logprobs | None = field(default=None, compare=False)
    cached_tokens: int = field(default=0, compare=False)
    began: float = field(default=0.0, compare=False)
    cut: bool = False


@dataclass(frozen=True)
class Row:
    """One answer being generated.

    `published` are token ids an earlier attempt already gave to readers, `published_text` what they read:
    generation goes on right behind them. `emit` is called with each new piece, in order, from any thread,
    and must be quick. Setting `cancel` ends the row at the next step with `Cancelled`. `grammar` is what
    `Engine.grammar` made of the request.
    """

    prompt: Prompt
    parameters: Parameters
    emit: Callable[[Piece], None]
    cancel: threading.Event
    published: tuple[int, ...] = ()
    published_text: str = ""
    grammar: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class ModelFacts:
    """What a worker publishes about its loaded model.

    `tools` is the form of its calls, "" for none. It listens at `sampling_rate` (Hz), 0 where it does not.
    """

    context_length: int
    samples: bool
    has_chat_template: bool
    tools: Known = ""
    sampling_rate: int = 0


def unheld(param: str, what: str) -> CallerError:
    message = f"This model's answers cannot be held to {what}."
    return CallerError("unsupported_parameter", message, param=param)


class Engine(ABC):
    """Load once, then generate for as long as the process lives."""

    name: str
    rows: int
    repeatable = True
    """Whether a seed is all that it takes to draw the same answer again, and costs nothing."""
    reason: str = ""
    """Why this engine serves the model, or why no better one does; known after `load`."""

    @abstractmethod
    def load(self) -> "Engine":
        """Load the model; slow. Returns the engine that serves it: this one, or the one it gave way to.

        Raises any exception where the model cannot be loaded as configured.
        """

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

    @property
    def made_of(self) -> Facts:
        """What the fingerprint is over, in words; known after `load`."""
        return {"engine": self.name}

    def effective(self, prompt: Prompt, parameters: Parameters) -> Parameters:  # noqa: ARG002
        """The parameters that an answer is made with, what the model's own configuration says among them."""
        return parameters

    def grammar(self, request: Request, caller: str = "") -> Any:  # noqa: ARG002
        """What holds the answer to the wanted format or to calls, for this engine only; None for any text.

        Apart from `prepare`: a format may take seconds, and nobody should hold pictures meanwhile. Those of
        several callers take turns.
        Raises CallerError: `invalid_request`, `unsupported_parameter`.
        """
        if request.parameters.format is not None:
            raise unheld("format", "a format")
        if request.tools is not None and request.tools.held:
            raise unheld("tools", "the form of a call")
        return None

    @abstractmethod
    def prepare(
        self,
        request: Request,
        pictures: Sequence[Picture],
        scope: str | None = "",
        sounds: Sequence[Samples] = (),
    ) -> Prompt:
        """Turn a request, its decoded RGB pictures and its sounds (in reading order) into a prompt.

        What it shows and says may be kept in memory, for other requests of the same `scope` only; where that
        is None nothing is.

        Raises CallerError: `context_length_exceeded`, `no_chat_template`, `invalid_request`, `invalid_image`,
        `unsupported_parameter` for functions where the model takes none.
        """

    @abstractmethod
    def generate(self, row: Row) -> Finish:
        """Generate to the end, blocking the calling thread.

        Raises Cancelled, DeviceBroken, CallerError `invalid_request` for parameters that this model cannot be
        run with.
        """

    def generate_all(self, rows: Sequence[Row]) -> list[Finish]:
        """Generate several answers to one prompt, whose rows differ in their seeds and in what was published.

        As `generate`, one after the other. An engine that can compute the prompt once and the answers side by
        side does so; where one of them fails the others are given up.
        """
        return [self.generate(row) for row in rows]

    @abstractmethod
    def idle_s(self) -> float:
        """Seconds since the engine last made progress while it had work; 0 while it has none."""

    @property
    @abstractmethod
    def longest_step_s(self) -> float:
        """The longest that any progress has taken so far; 0 before the first."""

    @property
    def reused(self) -> Reused | None:
        """What was known of its requests from earlier ones; None where the engine keeps nothing of them."""
        return None

    @property
    def broken(self) -> bool:
        """Whether the device is lost, so that only a new process can go on; see DeviceBroken."""
        return False
