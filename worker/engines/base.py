"""The contract that every engine meets; `tests/engines/suite.py` tests each one against it.

One engine per worker process holds the model. Task threads call `prepare` and `generate`, from several
threads at once; the engine decides what runs together. Nothing here knows Redis, Celery or HTTP.
"""

import hashlib
import json
import threading
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from PIL import Image
from PIL.Image import Image as Picture
from pydantic import ValidationError

from shared.errors import CallerError
from shared.models import Model
from shared.request import Frozen, Parameters, Request
from shared.result import FinishReason, Logprobs, Piece, SeenPicture
from shared.settings import SettingsError
from shared.tool_calls.syntax import Known

Samples: TypeAlias = "array[float]"
"""A sound: mono, 32-bit floats of -1 to 1, at the model's sampling rate."""
Images: TypeAlias = Sequence[Picture]
Sounds: TypeAlias = Sequence[Samples]
Videos: TypeAlias = "Sequence[Frames]"
Scope: TypeAlias = str | None
Facts: TypeAlias = "dict[str, str | int | float | bool | None]"


@dataclass(frozen=True)
class VideoFacts:
    """A whole video: `frames` in all, `fps` of them a second on average, upright `width` and `height`."""

    frames: int
    fps: float
    width: int
    height: int


@dataclass(frozen=True)
class Frames:
    """Some frames of a `video` by their numbers in it; `pixels` are RGB, a byte each."""

    video: VideoFacts
    indices: tuple[int, ...]
    pixels: bytearray = field(repr=False)


class PackedPicture(Picture):
    """A picture in RGB whose `pixels`, a byte each, stay as they came.

    Where something asks for Pillow's own, of four bytes, they take their place. `original` is the upright
    size of what was sent, which is larger where it was shrunk.
    """

    def __init__(
        self, size: tuple[int, int], pixels: bytearray, original: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.original = original or size
        self._mode, self._size = "RGB", size
        self.pixels: bytearray | None = pixels

    def load(self) -> Any:
        if self.pixels is not None:
            self.im, self.pixels = Image.frombytes(self.mode, self.size, self.pixels).im, None
        return super().load()


class Cancelled(Exception):  # noqa: N818 - an outcome, not an error
    """The row was stopped because its `Row.cancel` was set."""


class DeviceBroken(Exception):  # noqa: N818 - a state of the machine, not of the request
    """The device can compute nothing more in this process: its work is given back, and the worker exits."""


def seen(
    pictures: Images, sizes: Sequence[tuple[int, int]], tokens: Sequence[int]
) -> tuple[SeenPicture, ...]:
    """`pictures` as the model saw them, in these `sizes`; `tokens` are empty where they are not told."""
    originals = [getattr(picture, "original", picture.size) for picture in pictures]
    counts = tokens if len(tokens) == len(pictures) else [None] * len(pictures)
    return tuple(
        SeenPicture(width=size[0], height=size[1], tokens=count, original=None if own == size else own)
        for own, size, count in zip(originals, sizes, counts, strict=True)
    )


@dataclass(frozen=True)
class Prompt:
    """A request prepared for one engine: token counts, and `inputs` that only that engine understands.

    `tokens` include `image_tokens`, of pictures and videos, and `audio_tokens`. `syntax` is how
    the answer is written, None if it is all words. `ends_open`: the prompt ends with the text
    that the answer continues, so a space between the two belongs to the answer. `trimmed` are the blanks at
    that text's end that the chat template removed: the answer need not repeat them. `pictures` is how many it
    has.
    """

    tokens: int
    image_tokens: int
    inputs: Any = field(repr=False)
    syntax: str | None = None
    audio_tokens: int = 0
    ends_open: bool = False
    trimmed: str = ""
    pictures: int = 0
    seen: tuple[SeenPicture, ...] = ()


@dataclass(frozen=True)
class Finish:
    """How a row ended. `ids` and `text` cover the whole answer, a resumed part included.

    The last digits of `score` and `logprobs` may depend on what else was computed. `logprobs` are None if the
    request asks for none; tokens after the text's end, such as the end token, have none. `cut`: a stop string
    ended the row. `reasoning_tokens` are how many of `ids` were spent on thoughts.

    `compute_s` is the time since the row's first step, which was at `began` (s, monotonic), without its wait
    for a place in the engine. `cached_tokens` of the prompt were reused from earlier requests, not computed.
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
    reasoning_tokens: int = 0


@dataclass(frozen=True)
class Row:
    """One answer being generated.

    `published` are the token ids that an earlier attempt already gave to readers, `published_text` is their
    text; generation continues after them. `emit` is called with each new piece, in order, from any thread,
    and must be quick. Setting `cancel` ends the row at the next step with `Cancelled`. `grammar` is the
    result of `Engine.grammar` for the request. `arrived` orders rows that wait, by the process's own clock.
    `on_begin` is called, once or more often, when the prompt's turn on the device has come.
    """

    prompt: Prompt
    parameters: Parameters
    emit: Callable[[Piece], None]
    cancel: threading.Event
    published: tuple[int, ...] = ()
    published_text: str = ""
    grammar: Any = field(default=None, repr=False)
    arrived: float = 0.0
    on_begin: Callable[[], None] = field(default=lambda: None, repr=False)


@dataclass(frozen=True)
class ModelFacts:
    """What a worker publishes about its loaded model.

    `tools` is the form of its calls, "" for none; `sampling_rate` (Hz) is 0 if it takes no sounds; `videos`:
    whether it takes them.
    """

    context_length: int
    samples: bool
    tools: Known = ""
    sampling_rate: int = 0
    videos: bool = False


def unsupported_constraint(param: str, reason: str) -> CallerError:
    message = f"This model's answers cannot be held to {reason}."
    return CallerError("unsupported_parameter", message, param=param)


class ProgressClock:
    """Ticks while there is work, so that the heartbeat's thread can tell whether the engine hangs."""

    def __init__(self) -> None:
        self._ticked: float | None = None
        self._longest = 0.0

    def start(self) -> None:
        self._ticked = time.monotonic()

    def tick(self) -> None:
        now, ticked = time.monotonic(), self._ticked
        if ticked is not None:
            self._longest = max(self._longest, now - ticked)
            self._ticked = now

    def rest(self) -> None:
        self._ticked = None

    @property
    def longest_s(self) -> float:
        return self._longest

    def idle_s(self) -> float:
        ticked = self._ticked
        return 0.0 if ticked is None else time.monotonic() - ticked


class Engine(ABC):
    """Load once, then generate for as long as the process lives."""

    name: str
    rows: int
    progress: ProgressClock
    repeatable = True
    """Whether the same seed draws the same answer again, and setting one costs nothing."""
    reason: str = ""
    """Why this engine serves the model, or why a better one does not; known after `load`."""

    @abstractmethod
    def load(self) -> "Engine":
        """Load the model; slow. Returns the engine that serves it: this one, or one that it gave way to.

        Raises any exception if the model cannot be loaded as configured.
        """

    def load_guess(self) -> tuple[float, str]:
        """Seconds that a load may take while none has been measured, and what the guess is based on."""
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
        """The readable facts that the fingerprint covers; known after `load`."""
        return {"engine": self.name}

    def effective(self, prompt: Prompt, parameters: Parameters) -> Parameters:  # noqa: ARG002
        """The parameters in effect, with those filled in that the model's own configuration sets."""
        return parameters

    def grammar(self, request: Request, caller: str = "") -> Any:  # noqa: ARG002
        """A grammar of this engine's own that holds the answer to a format or to calls; None for any text.

        Separate from `prepare`, because a format may take seconds, and pictures should not be held in memory
        meanwhile. Callers take turns. Raises CallerError: `invalid_request`, `unsupported_parameter`.
        """
        if request.parameters.format is not None:
            raise unsupported_constraint("format", "a format")
        if request.tools is not None and request.tools.is_constrained:
            raise unsupported_constraint("tools", "the form of a call")
        return None

    @abstractmethod
    def prepare(
        self, request: Request, pictures: Images, scope: Scope = "", sounds: Sounds = (), videos: Videos = ()
    ) -> Prompt:
        """Turn a request, its decoded RGB pictures, sounds and videos (in reading order) into a prompt.

        Its content may be kept in memory for other requests of the same `scope` only; None keeps nothing.

        Raises CallerError: `context_length_exceeded`, `invalid_request`, `invalid_image`,
        `unsupported_parameter` for functions if the model takes none.
        """

    def sample(self, parameters: Parameters, video: VideoFacts) -> Sequence[int]:  # noqa: ARG002
        """The numbers of the frames of a video that the model is shown; it is asked only if it takes videos.

        Raises ValueError in words for the caller.
        """
        raise ValueError("this model takes none")

    @abstractmethod
    def generate(self, row: Row) -> Finish:
        """Generate to the end, blocking the calling thread.

        Raises Cancelled, DeviceBroken, CallerError `invalid_request` for parameters that this model cannot be
        run with.
        """

    def generate_all(self, rows: Sequence[Row]) -> list[Finish]:
        """Generate several answers to one prompt; the rows differ in their seeds and in what was published.

        By default one after the other with `generate`. An engine that can computes the prompt once and the
        answers side by side; if one fails, the others are given up.
        """
        return [self.generate(row) for row in rows]

    def idle_s(self) -> float:
        """Seconds since the engine last made progress while it had work; 0 while it has none."""
        return self.progress.idle_s()

    @property
    def longest_step_s(self) -> float:
        """The longest pause between two moments of progress so far; 0 before the first."""
        return self.progress.longest_s

    @property
    def prompt_s(self) -> float:
        """Seconds for which a prompt keeps the next one from the device, as measured lately.

        0 where that is unknown or nothing; infinite where the next one waits for the answer's end.
        """
        return 0.0

    @property
    def rows_now(self) -> int:
        """How many of its `rows` it computes at once at present; fewer where memory has run out."""
        return self.rows

    @property
    def broken(self) -> bool:
        """Whether the device is lost to this process; see DeviceBroken."""
        return False


def digest_facts(**facts: str | int | float | bool | None) -> str:
    """A fingerprint: 32 hex digits over everything named that changes answers."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


Options = TypeVar("Options", bound=Frozen)


def read_options(model: Model, kind: type[Options], engine: str) -> Options:
    """Raises SettingsError naming the option, and those that the engine knows."""
    try:
        return kind.model_validate(model.options)
    except ValidationError as error:
        first = error.errors()[0]
        names = ", ".join(kind.model_fields)
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"model {model.id}: options.{where}: {first['msg']} (the engine {engine} knows {names})"
        ) from None
