"""Resumes an answer after its published text, by forcing the published tokens one step each; bans repeats.

This runs in vLLM's own processes. The steps are those of the interrupted attempt, so penalties, random draws,
formats and logprobs end in the same state. vLLM has two model runners, and each needs logits processors of
its own kind.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcessor

from worker.engines.sampling.processors import without_repeats
from worker.engines.vllm.sampling import NGRAM_SIZE, PUBLISHED


class RepeatBan(LogitsProcessor):  # type: ignore[misc]
    """Forbids tokens that would repeat what is there already, in model runner V2."""

    def __init__(self, vllm_config: Any, req_states: Any) -> None:  # noqa: ARG002
        self._tokens = req_states.all_token_ids.gpu
        self._prompts = req_states.prompt_len.np
        self._sizes: dict[int, int] = {}

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        self._sizes[req_idx] = size = _ngram_size(sampling_params)
        return bool(size)

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        """Logits [rows, vocabulary], one row per request, as there is no speculative decoding here."""
        for row, slot, length in _rows(ctx):
            if (size := self._sizes.get(slot, 0)) and length >= self._prompts[slot]:
                logits[row] = without_repeats(self._tokens[slot, :length], logits[row], size)
        return logits


class FirstRepeatBan(AdapterLogitsProcessor):  # type: ignore[misc]
    """The same in model runner V1, which is used on CPUs without Triton."""

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        size = _ngram_size(params)

        # vLLM looks how many arguments it takes.
        def allowed(prompt: list[int], answer: list[int], logits: torch.Tensor) -> torch.Tensor:
            return without_repeats(torch.tensor([*prompt, *answer], device=logits.device), logits, size)

        return allowed if size else None


class Replay(LogitsProcessor):  # type: ignore[misc]
    """Forces published tokens in model runner V2."""

    def __init__(self, vllm_config: Any, req_states: Any) -> None:  # noqa: ARG002
        self._prompts = req_states.prompt_len.np
        self._published: dict[int, list[int]] = {}

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        ids = _published(sampling_params)
        self._published[req_idx] = ids
        return bool(ids)

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        """As `RepeatBan.apply`."""
        for row, slot, length in _rows(ctx):
            # Negative while the prompt is computed in chunks.
            step = length - int(self._prompts[slot])
            if 0 <= step < len(ids := self._published.get(slot, [])):
                _force(logits[row], ids[step])
        return logits


class FirstReplay(AdapterLogitsProcessor):  # type: ignore[misc]
    """Forces published tokens in model runner V1."""

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        ids = _published(params)
        return partial(_next, ids) if ids else None


def _rows(ctx: LogitsContext) -> Iterator[tuple[int, int, int]]:
    """Each row of the logits, its request's slot, and how many tokens that has.

    A request keeps its slot, while the rows are in the batch's order.
    """
    slots = ctx.idx_mapping_np.tolist()
    # Those of a CUDA graph for more rows end with zeros.
    lengths = ctx.seq_lens_upper_bound_np[: len(slots)].tolist()
    yield from ((row, *pair) for row, pair in enumerate(zip(slots, lengths, strict=True)))


def _next(published: list[int], ids: list[int], logits: torch.Tensor) -> torch.Tensor:
    if len(ids) < len(published):
        _force(logits, published[len(ids)])
    return logits


def _force(logits: torch.Tensor, token: int) -> None:
    """Leave only `token` possible in one row's logits [vocabulary]."""
    logits.fill_(-torch.inf)
    logits[token] = 0


def _published(params: Any) -> list[int]:
    ids: list[int] = (params.extra_args or {}).get(PUBLISHED, [])
    return ids


def _ngram_size(params: Any) -> int:
    return int((params.extra_args or {}).get(NGRAM_SIZE, 0))
