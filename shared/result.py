"""What a run computed."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from shared.calls.syntax import Syntax, read_syntax
from shared.logprobs import Logprobs
from shared.request import Frozen

FinishReason = Literal["stop", "length"]


class Recorded(Frozen, extra="ignore"):
    """Kept in records; a newer release's fields are ignored, because one would break a whole list of jobs."""


class Choice(Recorded):
    """One answer. `score` is the mean probability of its tokens, 0..1 (None where an engine has none).

    `logprobs` is None, and in no record, where nobody asked for them. `cut`: a text of `stop` ended it.
    """

    text: str
    finish_reason: FinishReason
    score: float | None = None
    cut: bool = Field(default=False, exclude_if=lambda cut: not cut)
    logprobs: Logprobs | None = Field(default=None, exclude_if=lambda told: told is None)


class Usage(Recorded):
    """Token counts. `prompt_tokens` includes those of pictures and sounds, and cached ones."""

    prompt_tokens: int
    completion_tokens: int
    image_tokens: int = 0
    cached_tokens: int = 0
    audio_tokens: int = Field(default=0, exclude_if=lambda count: not count)


class Origin(Recorded):
    """What made an answer, for its receipt.

    `made_of` is what the fingerprint is over, in words; `parameters` are those in effect: the request's, and
    what the model's own configuration says where that says nothing.
    """

    made_of: dict[str, str | int | float | bool | None]
    parameters: dict[str, Any]


class Result(Recorded):
    """The answer and where it came from; times in seconds.

    `syntax` is the form in which its texts may hold calls of functions, where some were shown to the model.
    `origin` stands beside it in records.
    """

    choices: tuple[Choice, ...]
    usage: Usage
    fingerprint: str
    compute_s: float
    syntax: Annotated[Syntax | None, BeforeValidator(lambda told: read_syntax(told or "") or None)] = Field(
        default=None, exclude_if=lambda syntax: syntax is None
    )
    origin: Origin | None = Field(default=None, exclude_if=lambda origin: origin is None)

    @property
    def text(self) -> str:
        return self.choices[0].text


class JobError(Recorded):
    """Why a job failed, as its record keeps it."""

    code: str
    message: str
    param: str | None = None
    retryable: bool = False
