"""Resumes an answer after its published text, by forcing the published tokens one step each; bans repeats.

This runs in vLLM's own processes. The steps are those of the interrupted attempt, so penalties, random draws,
formats and logprobs end in the same state. vLLM has two model runners, and each needs a logits processor of
its own kind.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcessor

from worker.engines.sampling.processors import without_repeats
from worker.engines.vllm.sampling import NGRAM_SIZE, PUBLISHED


class AnswerProcessorV2(LogitsProcessor):  # type: ignore[misc]
    """For model runner V2. A request keeps its slot, while the rows are in the batch's order."""

    def __init__(self, vllm_config: Any, req_states: Any) -> None:  # noqa: ARG002
        self._tokens = req_states.all_token_ids.gpu
        self._prompts = req_states.prompt_len.np
        self._extra: dict[int, Mapping[str, Any] | None] = {}

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        self._extra[req_idx] = extra = sampling_params.extra_args
        return bool(extra)

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        """Logits [rows, vocabulary], one row per request, as there is no speculative decoding here."""
        slots = ctx.idx_mapping_np.tolist()
        # Those of a CUDA graph for more rows end with zeros.
        lengths = ctx.seq_lens_upper_bound_np[: len(slots)].tolist()
        for row, (slot, length) in enumerate(zip(slots, lengths, strict=True)):
            # Negative while the prompt is computed in chunks.
            step = length - int(self._prompts[slot])
            if step >= 0 and (extra := self._extra.get(slot)):
                logits[row] = _changed(logits[row], extra, step, self._tokens[slot, :length])
        return logits


class AnswerProcessorV1(AdapterLogitsProcessor):  # type: ignore[misc]
    """For model runner V1, which is used on CPUs without Triton."""

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        extra = params.extra_args

        # vLLM looks how many arguments it takes.
        def changed(prompt: list[int], answer: list[int], logits: torch.Tensor) -> torch.Tensor:
            return _changed(logits, extra, len(answer), [*prompt, *answer])

        return changed if extra else None


def _changed(
    logits: torch.Tensor, extra: Mapping[str, Any], step: int, tokens: Sequence[int] | torch.Tensor
) -> torch.Tensor:
    """The logits [vocabulary] of one row for the answer's token number `step`, behind `tokens`."""
    published: list[int] = extra[PUBLISHED]
    if step >= len(published):
        size: int = extra[NGRAM_SIZE]
        return (
            without_repeats(torch.as_tensor(tokens, device=logits.device), logits, size) if size else logits
        )
    forced = torch.full_like(logits, -torch.inf)
    forced[published[step]] = 0
    return forced
