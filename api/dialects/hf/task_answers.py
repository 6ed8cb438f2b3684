"""Answers of Hugging Face's raw route: one small JSON value per task, errors as text.

The streaming form is text-generation-inference's `generate_stream`.
"""

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.hf.task_requests import HfCall
from api.dialects.openai.chat import result_of
from api.dialects.openai.errors import ReadyTime, ready_time
from shared.errors import ServiceError
from shared.job import JobView
from shared.request import Request, Text
from shared.result import Candidate, JobError, Logprobs, Result, logprobs_of
from shared.tool_calls.thoughts import split_thoughts


class GeneratedToken(TypedDict):
    id: Annotated[int | None, Field(description="null where the job's stream is no longer kept.")]
    text: str
    logprob: float
    special: bool


class GenerationEnd(TypedDict):
    finish_reason: Literal["length", "eos_token", "stop_sequence", "repetition"]
    generated_tokens: int
    seed: int | None


class GenerationDetails(GenerationEnd):
    """Each token of the text; the one that ended it is counted and not told."""

    prefill: Annotated[list[GeneratedToken], Field(max_length=0)]
    tokens: list[GeneratedToken]


class GenerationStreamDetails(GenerationEnd):
    input_length: int


class GeneratedText(TypedDict):
    generated_text: str
    input_text: NotRequired[Annotated[str, Field(description="With return_full_text.")]]
    details: NotRequired[Annotated[GenerationDetails, Field(description="With details.")]]


class ScoredAnswer(TypedDict):
    """Of a question about a picture."""

    answer: str
    score: float


class Token(TypedDict):
    id: int
    text: str
    special: bool
    logprob: float | None


class TokenChunk(TypedDict):
    """The last one holds the whole `generated_text`."""

    index: int
    token: Token
    generated_text: str | None
    details: Annotated[GenerationStreamDetails | None, Field(description="Of the last chunk, with details.")]


class HuggingFaceError(ReadyTime):
    error: str
    error_type: str


TaskAnswer = list[GeneratedText] | list[ScoredAnswer] | GeneratedText
_HUGGINGFACE_JS = re.compile(r"@huggingface/inference/(\d{1,4})\.(\d{1,4})\.(\d{1,4})")


def is_huggingface_js(user_agent: str | None) -> bool:
    """Whether the client is huggingface.js, which sometimes needs another answer than huggingface_hub."""
    return "@huggingface/inference/" in (user_agent or "")


def takes_object(user_agent: str | None) -> bool:
    """Whether the client wants an object for a picture, not a list: huggingface.js from 4.13.15 on."""
    version = _HUGGINGFACE_JS.search(user_agent or "")
    return version is not None and tuple(map(int, version.groups())) >= (4, 13, 15)


def to_answer(view: JobView, call: HfCall, user_agent: str | None, ids: Sequence[int] = ()) -> TaskAnswer:
    """The answer of a job that succeeded; `ids` are its tokens' ids, where details are asked for.

    For the bytes of one picture huggingface_hub and older huggingface.js need a list and newer huggingface.js
    an object; only the User-Agent tells them apart.
    """
    result = result_of(view)
    choices = result.choices
    texts = [split_thoughts(choice.text, result.syntax)[1] for choice in choices]
    if call.task == "visual-question-answering":
        # huggingface.js refuses an answer without a number.
        scored = zip(texts, choices[: call.answers], strict=False)
        return [ScoredAnswer(answer=text, score=choice.score or 0.0) for text, choice in scored]
    answers = [_generated(call, text) for text in texts]
    if call.details:
        answers[0]["details"] = _details(view, call, choices[0].logprobs or (), ids)
        return answers[:1]
    if call.task == "image-to-text" and takes_object(user_agent):
        return answers[0]
    return answers


def token_chunk(data: dict[str, Any], index: int) -> TokenChunk:
    """The chunk of a text event; of several tokens `token.id` is the last one's, `token.logprob` their sum.

    Without details the logprob is unknown.
    """
    ids, logprobs = data["ids"], logprobs_of(data)
    logprob = None if logprobs is None else sum((token.chosen.logprob for token in logprobs), 0.0)
    return _chunk(index, ids[-1] if ids else 0, data["text"], logprob)


def last_chunk(view: JobView, index: int, call: HfCall) -> TokenChunk:
    """The end of a stream: the whole text, under a special token that readers skip."""
    result = result_of(view)
    _, text = split_thoughts(result.text, result.syntax)
    # The special token's text is empty, so its probability is 1.
    chunk = _chunk(index, 0, "", 0.0 if call.details else None, _prefix(call) + text)
    if call.details:
        chunk["details"] = {**_end(view, call), "input_length": result.usage.prompt_tokens}
    return chunk


def to_error(error: ServiceError | JobError) -> HuggingFaceError:
    return {"error": to_text(error), "error_type": error.code, **ready_time(error)}


def to_text(error: ServiceError | JobError) -> str:
    """The error as one text, which is all that huggingface_hub shows, so it names the field too."""
    has_name = error.param is None or error.param in error.message
    return error.message if has_name else f"`{error.param}`: {error.message}"


def _generated(call: HfCall, text: str) -> GeneratedText:
    answer: GeneratedText = {"generated_text": _prefix(call) + text}
    if call.return_full_text:
        answer["input_text"] = _input_text(call.request)
    return answer


def _prefix(call: HfCall) -> str:
    return _input_text(call.request) if call.prefixed else ""


def _input_text(request: Request) -> str:
    """The text of the question, pictures left out, one line per turn."""
    turns = ["".join(p.text for p in m.parts if isinstance(p, Text)) for m in request.messages]
    return "\n".join(turns)


def _end(view: JobView, call: HfCall) -> GenerationEnd:
    result = result_of(view)
    choice = result.choices[0]
    by_itself: Literal["eos_token", "stop_sequence"] = "stop_sequence" if choice.cut else "eos_token"
    return {
        "finish_reason": by_itself if choice.finish_reason == "stop" else choice.finish_reason,
        "generated_tokens": result.usage.completion_tokens,
        "seed": _seed(result, call.request),
    }


def _seed(result: Result, request: Request) -> int | None:
    """The caller's seed, or the one that the run sampled with; None where nothing was sampled."""
    sampled = None if result.origin is None else result.origin.parameters.get("seed")
    return sampled if request.parameters.seed is None else request.parameters.seed


def _details(view: JobView, call: HfCall, logprobs: Logprobs, ids: Sequence[int]) -> GenerationDetails:
    """The tokens of the text, without the one that ended it. Ids are null where no stream is kept."""
    numbered = zip_longest(logprobs, ids[: len(logprobs)])
    tokens = [_token(token.chosen, id) for token, id in numbered]
    return {**_end(view, call), "prefill": [], "tokens": tokens}


def _token(chosen: Candidate, id: int | None) -> GeneratedToken:
    return {"id": id, "text": chosen.token, "logprob": chosen.logprob, "special": chosen.bytes == ()}


def _chunk(
    index: int, id: int, text: str, logprob: float | None, generated_text: str | None = None
) -> TokenChunk:
    token: Token = {"id": id, "text": text, "special": generated_text is not None, "logprob": logprob}
    return {"index": index, "token": token, "generated_text": generated_text, "details": None}
