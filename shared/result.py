"""What a run computed."""

from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, TypeAdapter

from shared.request import Frozen
from shared.tool_calls.thoughts import read_answer_syntax

# How probable a model found the tokens of an answer; kept and streamed only where a request asks for it.
#
# In records each token is one list, `[start, [token, logprob, bytes], [[token, logprob, bytes], …]]`: with
# twenty alternatives they are many times as large as the answer, so nothing in them is named.

LEAST = -9999.0
"""The logprob of a probability of 0, as in OpenAI's answers: JSON has no infinity."""


class Candidate(NamedTuple):
    """A token that could be chosen; `logprob` is the natural logarithm of its probability.

    `bytes` is None where it equals the bytes of `token`, and empty for a token that makes no text. Bytes that
    are no whole character stand in `token` as `\\xf0`.
    """

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None


class TokenLogprob(NamedTuple):
    """One token of an answer, and the likeliest tokens at its place, most probable first.

    `start` is where its text begins in the answer, in code points.
    """

    start: int
    chosen: Candidate
    top: tuple[Candidate, ...]


Logprobs = tuple[TokenLogprob, ...]
_LOGPROBS: TypeAdapter[Logprobs] = TypeAdapter(Logprobs)


def logprobs_of(data: dict[str, Any]) -> Logprobs | None:
    """The logprobs in the data of a `text` event."""
    return _LOGPROBS.validate_python(data["logprobs"]) if "logprobs" in data else None


FinishReason = Literal["stop", "length", "repetition"]


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


class SeenPicture(Recorded):
    """A picture's size as the model saw it, where the processor tells that, else as the processor got it.

    `tokens` is None where it does not tell them apart, `original` where it is the same size.
    """

    width: int
    height: int
    tokens: int | None = Field(default=None, exclude_if=lambda count: count is None)
    original: tuple[int, int] | None = Field(default=None, exclude_if=lambda size: size is None)


class Usage(Recorded):
    """Token counts. `prompt_tokens` includes those of pictures and sounds, and cached ones.

    `completion_tokens` include `reasoning_tokens`.
    """

    prompt_tokens: int
    completion_tokens: int
    image_tokens: int = 0
    pictures: tuple[SeenPicture, ...] = Field(default=(), exclude_if=lambda pictures: not pictures)
    cached_tokens: int = 0
    audio_tokens: int = Field(default=0, exclude_if=lambda count: not count)
    reasoning_tokens: int = Field(default=0, exclude_if=lambda count: not count)


class Origin(Recorded):
    """What made an answer, for its receipt.

    `made_of` is what the fingerprint is over, in words; `parameters` are those in effect: the request's, and
    what the model's own configuration says where that says nothing.
    """

    made_of: dict[str, str | int | float | bool | None]
    parameters: dict[str, Any]


class Result(Recorded):
    """The answer and where it came from; times in seconds.

    `syntax` is how its texts are written (`AnswerSyntax`); first, for those who read the beginning only.
    `origin` stands beside it in records.
    """

    syntax: Annotated[str | None, AfterValidator(lambda told: str(read_answer_syntax(told)) or None)] = Field(
        default=None, exclude_if=lambda syntax: syntax is None
    )
    choices: tuple[Choice, ...]
    usage: Usage
    fingerprint: str
    compute_s: float
    origin: Origin | None = Field(default=None, exclude_if=lambda origin: origin is None)

    @property
    def text(self) -> str:
        return self.choices[0].text

    def without_logprobs(self) -> "Result":
        choices = tuple(choice.model_copy(update={"logprobs": None}) for choice in self.choices)
        return self.model_copy(update={"choices": choices})


class JobError(Recorded):
    """Why a job failed, as its record keeps it."""

    code: str
    message: str
    param: str | None = None
    retryable: bool = False


# A part of a running answer, from an engine's step to the readers of its stream.


class Piece(NamedTuple):
    """What one or more steps added: whole characters only, with the token ids that made them.

    `start` is the offset of `text` in the answer, in code points. `ids` may be held back until their
    characters are complete, but are never dropped. `logprobs` are those, not yet told, of tokens whose text
    has begun; None where nobody asked for them. `choice` is the number of the answer, None where only one was
    asked for; `syntax` is how it is written; `prompt_tokens` the length of the prompt, where that is known.
    """

    start: int
    text: str
    ids: tuple[int, ...]
    logprobs: Logprobs | None = None
    choice: int | None = None
    syntax: str | None = None
    prompt_tokens: int | None = None


def joined(pieces: Sequence[Piece]) -> Piece | None:
    """Consecutive pieces of one answer as one piece; None where there are none."""
    if not pieces:
        return None
    text, ids = "".join(p.text for p in pieces), tuple(i for p in pieces for i in p.ids)
    token_lists = [p.logprobs for p in pieces if p.logprobs is not None]
    logprobs = tuple(chain.from_iterable(token_lists)) if token_lists else None
    return pieces[0]._replace(text=text, ids=ids, logprobs=logprobs)
