"""Forbids the tokens that would take a row out of its format."""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher
from transformers import LogitsProcessor

from shared.errors import CallerError
from shared.tool_calls.thoughts import read_answer_syntax
from worker.engines.base import Row
from worker.engines.grammar.sandbox import matcher_error
from worker.engines.sampling.processors import AnswerProcessor


def grammar_processors(row: Row, ends: Collection[int]) -> list[LogitsProcessor]:
    """The processors that hold a new row to its format; none if it has no grammar.

    `ends` are the tokens that end the row.
    """
    return [] if row.grammar is None else [GrammarProcessor(row.grammar.deep_copy(), row, ends)]


class GrammarProcessor(AnswerProcessor):
    """Forbids every token that the format cannot continue with.

    End tokens are allowed only once the format is complete, even if it could continue with the text of one
    before. It comes after the processors that forbid tokens for the model's sake, so that the request fails
    here if together they leave no token, and before the caller's logit_bias. Replayed tokens are taken like
    drawn ones.
    """

    def __init__(self, matcher: LLMatcher, row: Row, ends: Collection[int]) -> None:
        self._matcher = matcher
        self._ends = list(ends)
        self._least = row.parameters.min_new_tokens or 0
        calls = read_answer_syntax(row.prompt.syntax).calls
        self._what = "tools" if calls and not row.parameters.format else "format"
        self._taken = 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Raises CallerError `invalid_request` if no allowed token is left."""
        ids = self.sampled_ids(input_ids)
        for token in ids[self._taken :].tolist():
            self._matcher.consume_token(token)
        self._taken = len(ids)
        masked: Any = scores.masked_fill(self._forbidden(scores), -torch.inf)
        # NaN is not the format's doing, and reported elsewhere.
        if bool(masked.max() == -torch.inf):
            raise self._ended_error()
        return masked  # type: ignore[no-any-return]

    def _forbidden(self, scores: torch.Tensor) -> torch.Tensor:
        """[1, vocabulary]; the model's vocabulary may be larger than its tokenizer's."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if error := matcher_error(self._matcher):
            raise CallerError("invalid_request", f"The format cannot be kept up: {error}.", param=self._what)
        allowed = np.unpackbits(bits, bitorder="little")
        if not self._matcher.is_accepting():
            allowed[self._ends] = 0
        allowed = allowed[: scores.shape[1]]
        forbidden = np.ones((1, scores.shape[1]), dtype=np.bool_)
        forbidden[0, : len(allowed)] = allowed == 0
        return torch.from_numpy(forbidden).to(scores.device)

    def _ended_error(self) -> CallerError:
        if self._matcher.is_stopped() and self._taken < self._least:
            message = "An answer of this format is complete before min_new_tokens."
            return CallerError("invalid_request", message, param="min_new_tokens")
        message = "The format cannot be kept up: the model has no token that goes on with it."
        return CallerError("invalid_request", message, param=self._what)
