"""The attention trained with is the one that every program of Transformers answers with."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from training.model import causal_blocks

LENGTH = 150  # two whole blocks of queries and a part of one


def some(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, LENGTH, 8, generator=generator).requires_grad_()


def test_blocks_attend_and_learn_as_plain_causal_attention_does() -> None:
    query, key, value = given = some(0), some(1), some(2)
    mixed, _ = causal_blocks(nn.Module(), query, key, value, None, scaling=0.3)
    plain = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3).transpose(1, 2)
    weights = torch.linspace(-1, 1, plain.numel()).view(plain.shape)
    torch.testing.assert_close(mixed, plain)
    learnt, expected = (torch.autograd.grad((result * weights).sum(), given) for result in (mixed, plain))
    torch.testing.assert_close(learnt, expected, rtol=1e-4, atol=1e-4)
