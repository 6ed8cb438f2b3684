"""Turns the tokens that vLLM returns for a row into its answer."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import exp, isnan
from typing import Any

from shared.errors import CallerError
from shared.result import LEAST, FinishReason
from worker.engines.base import Cancelled, DeviceBroken, Finish, Row
from worker.engines.sampling.detokenizer import Likelihood, Transcript
from worker.engines.sampling.logprobs import DIGITS
from worker.engines.sampling.processors import LogitsError

NOT_KEPT_UP = "The format cannot be kept up: the model has no token that goes on with it."
TOO_SHORT = "An answer of this format is complete before min_new_tokens."


class VllmAnswer:
    """Only the event loop's thread writes to it. `ends` are tokens that end any answer of the model."""

    def __init__(self, row: Row, transcript: Transcript, ends: Collection[int | None]) -> None:
        self._row = row
        self._transcript = transcript
        self._ends = ends
        # vLLM holds the row to its format, but draws any token once the format leaves none.
        self._format = None if row.grammar is None else row.grammar.matcher.deep_copy()
        self._probabilities = 0.0
        self._cached = 0
        self._reason: FinishReason = "stop"

    def take(self, output: Any) -> bool:
        """Take vLLM's next output; True once the answer is over, whatever vLLM would add.

        Raises Cancelled, DeviceBroken, LogitsError, CallerError `invalid_request`, and what `emit` raises.
        """
        completion = output.outputs[0]
        self._cached = output.num_cached_tokens or 0
        for token, beside in zip(completion.token_ids, completion.logprobs or (), strict=True):
            if self._row.cancel.is_set():
                raise Cancelled
            # First, as a format that leaves no token makes NaN of sound logits.
            self._follow(token)
            if isnan(logprob := beside[token].logprob):
                raise LogitsError("the model computed NaN or infinite logits")
            self._probabilities += exp(logprob)
            if self._transcript.add(token, likelihood(beside, token, self._row.parameters.logprobs or 0)):
                return True
        return self._ended(completion.finish_reason)

    def finish(self) -> Finish:
        ids = self._transcript.ids
        finish = self._transcript.finish(self._reason, self._probabilities / len(ids) if ids else None)
        return replace(finish, cached_tokens=self._cached)

    def _ended(self, reason: str | None) -> bool:
        if reason == "abort":
            raise DeviceBroken("vLLM's engine process is going down")
        if reason == "error" and self._format is not None:
            raise self._unkept()
        if reason not in (None, "stop", "length"):
            raise RuntimeError(f"vLLM ended a request with {reason!r}")
        self._reason = "length" if reason == "length" else "stop"
        return reason is not None

    def _follow(self, token: int) -> None:
        if self._format is None:
            return
        if token not in self._ends:
            accepted = self._format.consume_token(token)
        else:
            accepted = self._format.is_accepting()
            if accepted and len(self._transcript.ids) < (self._row.parameters.min_new_tokens or 0):
                raise CallerError("invalid_request", TOO_SHORT, param="min_new_tokens")
        if not accepted:
            raise self._unkept()

    def _unkept(self) -> CallerError:
        if self._row.parameters.logit_bias:
            message = "This logit_bias bans every token that could come next."
            return CallerError("invalid_request", message, param="logit_bias")
        return CallerError("invalid_request", NOT_KEPT_UP, param="format")


def likelihood(beside: Mapping[int, Any], token: int, count: int) -> Likelihood:
    """`beside` holds vLLM's Logprobs by token, for the chosen one and the likeliest."""
    ranked = sorted(beside.items(), key=lambda item: item[1].rank)
    top = tuple((id_, _rounded(candidate.logprob)) for id_, candidate in ranked[:count])
    return Likelihood(_rounded(beside[token].logprob), top)


def _rounded(logprob: float) -> float:
    return round(min(0.0, max(LEAST, logprob)), DIGITS)
