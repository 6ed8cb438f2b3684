"""How probable a model found the tokens of an answer; kept and streamed only where a request asks for it.

In records each token is one list, `[start, [token, logprob, bytes], [[token, logprob, bytes], …]]`: with
twenty alternatives they are many times as large as the answer, so nothing in them is named.
"""

from typing import Any, NamedTuple

from pydantic import TypeAdapter

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
