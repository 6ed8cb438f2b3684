"""Token probabilities in OpenAI's two forms: a chat's, which jobs share, and a text completion's."""

from typing_extensions import TypedDict

from api.dialects.strict_json import invalid, render
from shared.result import Candidate, Logprobs, TokenLogprob


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


class TextLogprobs(TypedDict):
    """`text_offset` counts code points from the beginning of the answer."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


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


def to_text_logprobs(logprobs: Logprobs | None) -> TextLogprobs | None:
    """Four lists of the same length.

    As in OpenAI's answers the chosen token is always listed, as one more where it is not among the likeliest.
    """
    if logprobs is None:
        return None
    return {
        "tokens": [_name(token.chosen) for token in logprobs],
        "token_logprobs": [token.chosen.logprob for token in logprobs],
        "top_logprobs": [_likeliest(token) for token in logprobs] if any(t.top for t in logprobs) else None,
        "text_offset": [token.start for token in logprobs],
    }


def _likeliest(token: TokenLogprob) -> dict[str, float]:
    """Alternatives by name; where two tokens are written alike, the likelier stands for both."""
    logprobs: dict[str, float] = {}
    for candidate in (*token.top, token.chosen):
        logprobs.setdefault(_name(candidate), candidate.logprob)
    return logprobs


def _entry(candidate: Candidate) -> TopLogprob:
    octets = candidate.token.encode() if candidate.bytes is None else candidate.bytes
    return {"token": candidate.token, "logprob": candidate.logprob, "bytes": list(octets)}


def _name(candidate: Candidate) -> str:
    """A token's text; one that is no whole character is marked, so as not to be taken for the text itself."""
    return f"bytes:{candidate.token}" if candidate.bytes else candidate.token
