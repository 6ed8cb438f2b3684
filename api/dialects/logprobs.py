"""Token probabilities in the form of OpenAI's chats, which jobs share."""

from typing_extensions import TypedDict

from api.dialects.strict_json import invalid, render
from shared.result import Candidate, Logprobs


class TopLogprob(TypedDict):
    """`bytes` is empty for a token that makes no text: strict readers of responses take no null for it."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(TypedDict):
    content: list[ChatTokenLogprob]
    refusal: str | None


def wanted(logprobs: bool | None, top_logprobs: int | None, at: str = "") -> int | None:
    """How many alternatives a chat or a job asks for; None for no probabilities at all.

    Raises CallerError for `top_logprobs` without `logprobs`.
    """
    if logprobs:
        return top_logprobs or 0
    if top_logprobs:
        raise invalid(render(["top_logprobs"], at), "needs `logprobs`: true")
    return None


def to_content(logprobs: Logprobs) -> list[ChatTokenLogprob]:
    """One entry for each token of the text, as in `choices[].logprobs.content`."""
    return [
        {**_entry(token.chosen), "top_logprobs": [_entry(candidate) for candidate in token.top]}
        for token in logprobs
    ]


def to_chat_logprobs(logprobs: Logprobs | None) -> ChatLogprobs | None:
    return None if logprobs is None else {"content": to_content(logprobs), "refusal": None}


def _entry(candidate: Candidate) -> TopLogprob:
    octets = candidate.token.encode() if candidate.bytes is None else candidate.bytes
    return {"token": candidate.token, "logprob": candidate.logprob, "bytes": list(octets)}
