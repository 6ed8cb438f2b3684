"""Token probabilities in OpenAI's two forms: a chat's, which jobs share, and a text completion's."""

from typing import Any

from api.dialects.strict_json import invalid, render
from shared.result import Candidate, Logprobs, TokenLogprob


def wanted(logprobs: bool | None, top_logprobs: int | None, at: str = "") -> int | None:
    """How many alternatives a chat or a job asks for; None for no probabilities at all.

    Raises CallerError for `top_logprobs` without `logprobs`.
    """
    if logprobs:
        return top_logprobs or 0
    if top_logprobs:
        raise invalid(render(["top_logprobs"], at), "needs `logprobs`: true")
    return None


def to_content(told: Logprobs) -> list[dict[str, Any]]:
    """One entry for each token of the text, as in `choices[].logprobs.content`."""
    return [
        _entry(token.chosen) | {"top_logprobs": [_entry(candidate) for candidate in token.top]}
        for token in told
    ]


def to_chat_logprobs(told: Logprobs | None) -> dict[str, Any] | None:
    return None if told is None else {"content": to_content(told), "refusal": None}


def to_text_logprobs(told: Logprobs | None) -> dict[str, Any] | None:
    """Four lists of the same length; offsets count code points from the beginning of the answer.

    As in OpenAI's answers the chosen token is always listed, as one more where it is not among the likeliest.
    """
    if told is None:
        return None
    return {
        "tokens": [_name(token.chosen) for token in told],
        "token_logprobs": [token.chosen.logprob for token in told],
        "top_logprobs": [_likeliest(token) for token in told] if any(token.top for token in told) else None,
        "text_offset": [token.start for token in told],
    }


def _likeliest(token: TokenLogprob) -> dict[str, float]:
    """Alternatives by name; where two tokens are written alike, the likelier stands for both."""
    found: dict[str, float] = {}
    for candidate in (*token.top, token.chosen):
        found.setdefault(_name(candidate), candidate.logprob)
    return found


def _entry(candidate: Candidate) -> dict[str, Any]:
    octets = candidate.token.encode() if candidate.bytes is None else candidate.bytes
    return {"token": candidate.token, "logprob": candidate.logprob, "bytes": list(octets)}


def _name(candidate: Candidate) -> str:
    """A token's text; one that is no whole character is marked, so as not to be taken for the text itself."""
    return f"bytes:{candidate.token}" if candidate.bytes else candidate.token
