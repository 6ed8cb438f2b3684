"""How probable a model found the tokens of an answer; kept and streamed only where a request asks for it.

In records each token is one list, `[start, [token, logprob, bytes], [[token, logprob, bytes], …]]`: with
twenty alternatives they are many times as large as the answer, so nothing in them is named.
"""

from typing import Any, NamedTuple

from pydantic import TypeAdapter

LEAST = -9999.0
"""Stands for no probability at all, as in OpenAI's answers: JSON has no infinity."""


class Candidate(NamedTuple):
    """A token that stood to choice; `logprob` is the natural logarithm of its probability.

    `bytes` is None where they are those of `token`, and empty for a token that makes no text. What is no
    whole character stands in `token` as `\\xf0`.
    """

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None


class TokenLogprob(NamedTuple):
    """One token of an answer, and the likeliest at its place, the most probable first.

    `start` is where its text begins in the answer, in code points.
    """

    start: int
    chosen: Candidate
    top: tuple[Candidate, ...]


Logprobs = tuple[TokenLogprob, ...]
_LOGPROBS: TypeAdapter[Logprobs] = TypeAdapter(Logprobs)


def logprobs_of(data: dict[str, Any]) -> Logprobs | None:
    """Those that the data of a `text` event holds."""
    return _LOGPROBS.validate_python(data["logprobs"]) if "logprobs" in data else None
