"""An engine without a model that answers with the question, for tests, load and trying out a deployment.

It meets the whole contract (streaming, stops, least and longest answers, logprobs, cancelling, resuming) at a
chosen pace, and fails and hangs when told to. Sampling parameters have no effect: it has no distribution.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import cycle, islice
from math import ceil

from pydantic import Field

from shared.models import Model
from shared.request import Frozen, Message, Parameters, Request, Text
from shared.settings import settings
from shared.tool_calls.thoughts import AnswerSyntax, marks_of
from worker.engines.base import (
    Cancelled,
    Engine,
    Facts,
    Finish,
    Images,
    ModelFacts,
    Prompt,
    Row,
    Scope,
    Sounds,
    VideoFacts,
    Videos,
    digest_facts,
    read_options,
    seen,
)
from worker.engines.prompt.budget import answer_budget
from worker.engines.row_limit import RowLimit
from worker.engines.sampling.detokenizer import Likelihood, Transcript

CONTEXT_LENGTH = 4096
SAMPLING_RATE = 16_000


class EchoOptions(Frozen):
    """What a models file may say under `options` for this engine."""

    load_s: float = Field(0, ge=0, description="How long loading takes.")
    step_s: float = Field(0, ge=0, description="How long one token takes.")
    fail: str = Field("", description="Loading raises this message.")
    fail_on: str = Field("", description="A question holding this text raises instead of being answered.")
    stall_on: str = Field("", description="A question holding this text hangs until it is cancelled.")


@dataclass(frozen=True)
class Echo:
    """A prompt of this engine: the question, which may tell it to fail, and the tokens of the answer."""

    question: str
    tokens: tuple[str, ...]
    budget: int


class EchoEngine(Engine):
    """The last words of a user or a tool, then a `[64x48]` for each picture, a `[1.5s]` for each sound and an
    `[8x64x48]` for eight frames of a video.
    """

    name = "echo"

    def __init__(self, model: Model) -> None:
        self.rows = model.rows
        self._model = model
        self._options = read_options(model, EchoOptions, self.name)
        self._row_limit = self.progress = RowLimit(model.rows)
        self._context_length = model.context_length or CONTEXT_LENGTH
        # Looked up once: finding a package takes longer than an answer.
        self._sampling_rate = SAMPLING_RATE if find_spec("soundfile") else 0
        self._videos = find_spec("av") is not None

    def load(self) -> Engine:
        time.sleep(self._options.load_s)
        if self._options.fail:
            raise RuntimeError(self._options.fail)
        return self

    def load_guess(self) -> tuple[float, str]:
        return max(1.0, self._options.load_s), "guess"

    @cached_property
    def facts(self) -> ModelFacts:
        return ModelFacts(
            context_length=self._context_length,
            samples=False,
            tools="hermes",
            sampling_rate=self._sampling_rate,
            videos=self._videos,
        )

    @cached_property
    def made_of(self) -> Facts:
        return {
            "engine": self.name,
            "context_length": self._context_length,
            "max_new_tokens": self._model.max_new_tokens,
            "max_side": settings().pictures.max_side,
            **self._options.model_dump(),
        }

    @cached_property
    def fingerprint(self) -> str:
        return digest_facts(**self.made_of)

    def effective(self, prompt: Prompt, parameters: Parameters) -> Parameters:
        return parameters.model_copy(update={"max_new_tokens": prompt.inputs.budget})

    def prepare(
        self,
        request: Request,
        pictures: Images,
        scope: Scope = "",  # noqa: ARG002
        sounds: Sounds = (),
        videos: Videos = (),
    ) -> Prompt:
        question = _text(_last(request))
        words = question.split() + [f"[{p.width}x{p.height}]" for p in pictures]
        words += [f"[{len(sound) / SAMPLING_RATE:.1f}s]" for sound in sounds]
        words += [f"[{len(v.indices)}x{v.video.width}x{v.video.height}]" for v in videos]
        count = sum(len(_text(m).split()) for m in request.messages) + len(words) - len(question.split())
        budget = answer_budget(
            request.parameters,
            default=self._model.max_new_tokens,
            prompt_tokens=count,
            context_length=self._context_length,
        )
        least = budget if request.parameters.ignore_eos else request.parameters.min_new_tokens or 0
        spoken = islice(cycle(words), max(len(words), least))
        tokens = tuple(word if at == 0 else f" {word}" for at, word in enumerate(spoken))
        marks = marks_of("<think></think>", self._model.reasoning)
        # It knows whether it thinks before it answers.
        marks = marks if marks and question.lstrip().startswith(marks.opening) else None
        told = request.parameters.include_reasoning is not False
        syntax = str(AnswerSyntax("hermes" if request.tools else None, marks, told)) or None
        media = len(pictures) + len(videos)
        shown = seen(pictures, [picture.size for picture in pictures], [1] * len(pictures))
        return Prompt(count, media, Echo(question, tokens, budget), syntax, len(sounds), seen=shown)

    def sample(self, parameters: Parameters, video: VideoFacts) -> Sequence[int]:
        wanted = parameters.num_frames or ceil(video.frames / video.fps * (parameters.fps or 1))
        count = min(wanted, video.frames)
        return [at * video.frames // count for at in range(count)]

    def generate(self, row: Row) -> Finish:
        echo: Echo = row.prompt.inputs
        with self._row_limit.enter(row.cancel):
            row.on_begin()
            if self._options.fail_on and self._options.fail_on in echo.question:
                raise RuntimeError(f"told to fail on {self._options.fail_on!r}")
            if self._options.stall_on and self._options.stall_on in echo.question:
                row.cancel.wait()
                raise Cancelled
            return self._answer(row, echo)

    def _answer(self, row: Row, echo: Echo) -> Finish:
        tokens, budget, told = echo.tokens, echo.budget, row.parameters.logprobs
        transcript = Transcript(
            row, lambda ids: "".join([tokens[i] for i in ids]), lambda i: (tokens[i], tokens[i].encode())
        )
        known: dict[str, int] = {}
        for place in range(min(len(tokens), budget)):
            token = known.setdefault(tokens[place], place)
            # Published tokens cost no time: a real engine prefills them.
            step_s = self._options.step_s if place >= len(row.published) else 0
            if row.cancel.wait(step_s) if step_s else row.cancel.is_set():
                raise Cancelled
            self._row_limit.tick()
            likelihood = None if told is None else Likelihood(0.0, ((token, 0.0),)[:told])
            if transcript.add(token, likelihood, more=not step_s):
                break
        cut = budget < len(tokens) or (budget == len(tokens) and row.parameters.ignore_eos)
        return transcript.finish("length" if cut else "stop", score=1.0)


def _last(request: Request) -> Message:
    questions = (m for m in reversed(request.messages) if m.role in ("user", "tool"))
    return next(questions, request.messages[-1])


def _text(message: Message) -> str:
    return " ".join(part.text for part in message.parts if isinstance(part, Text))
