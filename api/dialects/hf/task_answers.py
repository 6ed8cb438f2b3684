"""Answers of Hugging Face's raw route: one small JSON value per task, errors as text.

The streaming form is text-generation-inference's `generate_stream`.
"""

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from api.dialects.hf.task_requests import HfCall
from api.dialects.openai.chat import result_of
from api.dialects.openai.errors import readiness
from shared.errors import ServiceError
from shared.job import Event, JobView
from shared.request import Request, Text
from shared.result import Candidate, JobError, Logprobs, Result, logprobs_of

_HUGGINGFACE_JS = re.compile(r"@huggingface/inference/(\d{1,4})\.(\d{1,4})\.(\d{1,4})")


def is_huggingface_js(user_agent: str | None) -> bool:
    """Whether the client is huggingface.js, which sometimes needs another answer than huggingface_hub."""
    return "@huggingface/inference/" in (user_agent or "")


def takes_object(user_agent: str | None) -> bool:
    """Whether the client wants an object for a picture, not a list: huggingface.js from 4.13.15 on."""
    said = _HUGGINGFACE_JS.search(user_agent or "")
    return said is not None and tuple(map(int, said.groups())) >= (4, 13, 15)


def to_answer(view: JobView, call: HfCall, user_agent: str | None, ids: Sequence[int] = ()) -> Any:
    """The answer of a job that succeeded; `ids` are its tokens' ids, where details are asked for.

    For the bytes of one picture huggingface_hub and older huggingface.js need a list and newer huggingface.js
    an object; only the User-Agent tells them apart.
    """
    choices = result_of(view).choices
    if call.task == "visual-question-answering":
        # huggingface.js refuses an answer without a number.
        return [{"answer": c.text, "score": c.score or 0.0} for c in choices[: call.answers]]
    full = {"input_text": _input_text(call.request)} if call.return_full_text else {}
    answers = [full | {"generated_text": _prefix(call) + c.text} for c in choices]
    if call.details:
        return [answers[0] | {"details": _details(view, call) | _tokens(choices[0].logprobs or (), ids)}]
    if call.task == "image-to-text" and takes_object(user_agent):
        return answers[0]
    return answers


def token_chunk(event: Event, index: int) -> dict[str, Any]:
    """The chunk of a text event; of several tokens `token.id` is the last one's, `token.logprob` their sum.

    Without details the logprob is unknown.
    """
    ids, told = event.data["ids"], logprobs_of(event.data)
    logprob = None if told is None else sum((token.chosen.logprob for token in told), 0.0)
    return _chunk(index, ids[-1] if ids else 0, event.data["text"], logprob)


def last_chunk(view: JobView, index: int, call: HfCall) -> dict[str, Any]:
    """The end of a stream: the whole text, under a special token that readers skip."""
    result = result_of(view)
    # The special token's text is empty, so its probability is 1.
    chunk = _chunk(index, 0, "", 0.0 if call.details else None, _prefix(call) + result.text)
    if call.details:
        chunk["details"] = _details(view, call) | {"input_length": result.usage.prompt_tokens}
    return chunk


def to_error(error: ServiceError | JobError) -> dict[str, Any]:
    return {"error": to_text(error), "error_type": error.code, **readiness(error)}


def to_text(error: ServiceError | JobError) -> str:
    """The error as one text, which is all that huggingface_hub shows, so it names the field too."""
    named = error.param is None or error.param in error.message
    return error.message if named else f"`{error.param}`: {error.message}"


def _prefix(call: HfCall) -> str:
    return _input_text(call.request) if call.prefixed else ""


def _input_text(request: Request) -> str:
    """The text of the question, pictures left out, one line per turn."""
    turns = ["".join(p.text for p in m.parts if isinstance(p, Text)) for m in request.messages]
    return "\n".join(turns)


def _details(view: JobView, call: HfCall) -> dict[str, Any]:
    result = result_of(view)
    choice = result.choices[0]
    stopped = "stop_sequence" if choice.cut else "eos_token"
    return {
        "finish_reason": "length" if choice.finish_reason == "length" else stopped,
        "generated_tokens": result.usage.completion_tokens,
        "seed": _seed(result, call.request),
    }


def _seed(result: Result, request: Request) -> int | None:
    """The caller's seed, or the one that the run sampled with; None where nothing was sampled."""
    drawn = None if result.origin is None else result.origin.parameters.get("seed")
    return drawn if request.parameters.seed is None else request.parameters.seed


def _tokens(told: Logprobs, ids: Sequence[int]) -> dict[str, Any]:
    """The tokens of the text, without the one that ended it. Ids are null where no stream is kept."""
    numbered = zip_longest(told, ids[: len(told)])
    return {"prefill": [], "tokens": [_token(told.chosen, id) for told, id in numbered]}


def _token(chosen: Candidate, id: int | None) -> dict[str, Any]:
    return {"id": id, "text": chosen.token, "logprob": chosen.logprob, "special": chosen.bytes == ()}


def _chunk(
    index: int, id: int, text: str, logprob: float | None, generated_text: str | None = None
) -> dict[str, Any]:
    token = {"id": id, "text": text, "special": generated_text is not None, "logprob": logprob}
    return {"index": index, "token": token, "generated_text": generated_text, "details": None}
