"""The model as models/tiny describes it, untrained, with its tokenizer and processor.

LLaVA as small as it goes: a SigLIP vision tower, a two-layer projector, a Llama. 1.8 million parameters. A
Swin vision tower, measured for comparison, learnt no faster per second. The tokenizer is byte-level BPE: any
UTF-8 goes in. Digits stand alone and runs of capitals are split letter by letter: a text in a picture is
spelled, never recognised as a whole.

On a CPU the language model trains with causal attention in blocks of queries, each over the keys before it:
half of the full square is never computed, and the rest stays in the processor's cache.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AttentionInterface,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.siglip import SiglipVisionModel

from training.patches import GRID, WIDTH

TINY = Path(__file__).parents[1] / "models" / "tiny"
PAD, END, USER, ASSISTANT, IMAGE = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<image>"
MARKS = ("<|img1|>", "<|img2|>", "<|img3|>", "<|img4|>")
VOCABULARY = 1024
ATTENTION = "causal blocks"
BLOCK = 64


def new_vision_tower() -> SiglipVisionModel:
    """Untrained. Its patch positions start as sines, so that neighbours are alike at once."""
    tower = SiglipVisionModel(SiglipVisionConfig.from_pretrained(TINY))
    tower.set_attn_implementation("eager")
    tower.embeddings.position_embedding.weight.data.copy_(_grid_of_sines())
    return tower


def _grid_of_sines() -> torch.Tensor:
    """(patches, WIDTH)"""
    quarter = WIDTH // 4
    rates = 1.5 / 8 ** (torch.arange(quarter) / quarter)
    waves = torch.arange(GRID)[:, None] * rates
    line = torch.cat([waves.sin(), waves.cos()], -1)
    rows, columns = line.repeat_interleave(GRID, 0), line.repeat(GRID, 1)
    return 0.5 * torch.cat([rows, columns], -1)


def new_model() -> LlavaForConditionalGeneration:
    """The whole model, untrained. How attention is computed is not stored with the weights."""
    model = LlavaForConditionalGeneration(LlavaConfig.from_pretrained(TINY))
    model.generation_config = GenerationConfig.from_pretrained(TINY)
    model.model.vision_tower.set_attn_implementation("eager")
    model.model.language_model.set_attn_implementation(ATTENTION)
    return model


def new_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Splits texts as the shipped one does, and learns its tokens from `texts`."""
    shipped = PreTrainedTokenizerFast.from_pretrained(TINY)
    tokenizer: PreTrainedTokenizerFast = shipped.train_new_from_iterator(
        texts, VOCABULARY, min_frequency=12, show_progress=False
    )
    return tokenizer


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    return int(tokenizer.get_vocab()[token])


def new_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    processor = LlavaProcessor.from_pretrained(TINY)
    processor.tokenizer = tokenizer
    return processor


class CausalBlocks(torch.autograd.Function):
    """Of (rows * heads, length, width), all of one dtype, the query scaled.

    The backward pass is written by hand: autograd's copies each block several times, which makes a step a
    third longer.
    """

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        later = torch.ones(BLOCK, BLOCK, dtype=torch.bool).triu(1)
        mixed, shares = torch.empty_like(value), []
        for begin, end in _blocks(query):
            scores = query[:, begin:end] @ key[:, :end].transpose(1, 2)
            scores[..., begin:].masked_fill_(later[: end - begin, : end - begin], float("-inf"))
            shares.append(scores.softmax(-1))
            mixed[:, begin:end] = shares[-1] @ value[:, :end]
        ctx.save_for_backward(query, key, value, *shares)
        return mixed

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        query, key, value, *shares = ctx.saved_tensors
        to_query = torch.empty_like(query)
        # In float32: otherwise what later blocks add would be rounded away.
        to_key, to_value = (torch.zeros(x.shape) for x in (key, value))
        for (begin, end), share in zip(_blocks(query), shares, strict=True):
            grad = grads[0][:, begin:end]
            to_value[:, :end] += share.transpose(1, 2) @ grad
            to_share = grad @ value[:, :end].transpose(1, 2)
            to_scores = torch._softmax_backward_data(to_share, share, -1, share.dtype)
            to_query[:, begin:end] = to_scores @ key[:, :end]
            to_key[:, :end] += to_scores.transpose(1, 2) @ query[:, begin:end]
        return to_query, to_key.to(key.dtype), to_value.to(value.dtype)


def _blocks(query: torch.Tensor) -> list[tuple[int, int]]:
    length = query.shape[1]
    return [(begin, min(begin + BLOCK, length)) for begin in range(0, length, BLOCK)]


def causal_blocks(
    module: nn.Module,  # noqa: ARG001 (the signature is Transformers')
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 (rows are padded at their ends, where nothing is learnt)
    scaling: float,
    **unused: Any,  # noqa: ARG001
) -> tuple[torch.Tensor, None]:
    rows, heads = query.shape[:2]
    same_dtype = (x.to(value.dtype).flatten(0, 1) for x in (query * scaling, key, value))
    mixed: torch.Tensor = CausalBlocks.apply(*same_dtype)  # type: ignore[no-untyped-call]
    return mixed.view(rows, heads, *mixed.shape[1:]).transpose(1, 2), None


AttentionInterface.register(ATTENTION, causal_blocks)
