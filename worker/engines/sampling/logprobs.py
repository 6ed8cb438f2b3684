"""The model's own distribution of the next token, from which the logprobs that callers ask for are read."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from shared.result import LEAST
from worker.engines.sampling.detokenizer import Likelihood

# The digits that float32 can tell; more would only fill the records.
DIGITS = 6


class Distribution(NamedTuple):
    """One row's logits [vocabulary], their logsumexp, and the likeliest tokens with their logits.

    The first `top_count` of these are reported.
    """

    logits: torch.Tensor
    total: float
    best: list[tuple[int, float]]
    top_count: int

    def of(self, token: int) -> Likelihood:
        """How probable the chosen token was. Reads from the device only if it is not among the likeliest."""
        by_token = dict(self.best)
        logit = by_token[token] if token in by_token else float(self.logits[token])
        top = tuple((id_, self._logprob(value)) for id_, value in self.best[: self.top_count])
        return Likelihood(self._logprob(logit), top)

    def _logprob(self, logit: float) -> float:
        return round(min(0.0, max(LEAST, logit - self.total)), DIGITS)


def distributions(logits: torch.Tensor, counts: Sequence[int]) -> list[Distribution]:
    """One for each row of float32 logits [rows, vocabulary], with `counts` tokens for each, in one go.

    The softmax is over the logits as the network computed them: before penalties, biases, temperature, top_k,
    top_p and min_p, and with the tokens that no answer may contain.
    """
    best = logits.topk(min(max(1, *counts), logits.shape[1]))
    rows = zip(
        logits,
        logits.logsumexp(dim=-1).tolist(),
        best.indices.tolist(),
        best.values.tolist(),
        counts,
        strict=True,
    )
    return [
        Distribution(row, total, list(zip(ids, values, strict=True)), top_count)
        for row, total, ids, values, top_count in rows
    ]


class LogitsRecorder:
    """Keeps the newest logits of a network run by `generate()`, before any processor changes them."""

    def __init__(self, top_count: int | None) -> None:
        self._told = top_count
        self._logits = torch.empty(0)

    def see(self, _network: Any, _inputs: Any, outputs: Any) -> None:
        """A forward hook of the network."""
        if self._told is not None:
            self._logits = outputs.logits[:, -1].to(torch.float32, copy=True)

    def of(self, token: int) -> Likelihood | None:
        return None if self._told is None else distributions(self._logits, [self._told])[0].of(token)
