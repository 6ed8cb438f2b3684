"""Computes chunks of several prompts in one forward pass.

All chunks begin at the same column, behind the known tokens of their prompts, and the shorter ones are padded
at their ends:

    column   0   1   2   3   4   5   6   7
    row 0            k   k   n   n   n   n      k: known
    row 1                k   n   n   -   -      n: new
    row 2                    n   n   n   -      -: padding that no token attends to
                       columns

So the columns of a row follow each other without a gap, which sliding-window and chunked attention rely on.

oneDNN compiles code for each number of tokens that it meets (bfloat16 on a CPU: 2 to 5 ms for each shape of
weights, cached until a thousand others were compiled). There a single prompt is padded, too, to one of few
widths.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad

from worker.engines.continuous.kv_slices import KVSlices, stacked_rows
from worker.engines.continuous.model_inputs import ENCODED, KEPT, alike, merged
from worker.engines.continuous.prefill import PassShare, Prefill, Prefilled
from worker.engines.loading.devices import device_of

# The tokens in one AMX tile: padding within a tile costs next to nothing.
GRAIN = 16


def grain(network: Any) -> int:
    """A pass over one prompt should compute a multiple of this many tokens."""
    return GRAIN if device_of(network).type == "cpu" and network.dtype is torch.bfloat16 else 1


def filled(length: int, grain: int) -> int:
    return -(-length // grain) * grain


def advance(prefills: Sequence[Prefill], ends: Sequence[int], width: int) -> list[Prefilled | None]:
    """Do what `Prefill.advance` does for each prompt, in rows padded to `width` tokens.

    If it raises, all prompts are left in an unknown state and have to start again.
    """
    shares = [prefill.share(end) for prefill, end in zip(prefills, ends, strict=True)]
    columns = max(share.start for share in shares)
    lasts = sorted({share.end - share.start - 1 for share in shares})
    network, cache = prefills[0].network, prefills[0].cache
    joined = stacked_rows([share.past for share in shares])
    if joined is not None:
        joined.fill(cache)
    outputs = network(**_inputs(network, shares, columns, lasts, width, cache), return_dict=True)
    computed = KVSlices.of(outputs.past_key_values)
    prefilled = []
    for row, (prefill, share) in enumerate(zip(prefills, shares, strict=True)):
        last = share.end - share.start - 1
        at = lasts.index(last) if KEPT in share.rest else last
        past = computed.row(row, columns - share.start, columns + last + 1)
        prefilled.append(prefill.take(share.end, outputs.logits[row : row + 1, at : at + 1], past))
    return prefilled


def _inputs(
    network: Any, shares: Sequence[PassShare], columns: int, lasts: Sequence[int], tokens: int, cache: Any
) -> dict[str, Any]:
    """The model's inputs, made as the chunked branch of `GenerationMixin._prefill` does for a batch."""
    first = shares[0]
    behind = [tokens - share.ids.shape[1] for share in shares]
    arguments = dict(first.rest)
    if KEPT in arguments:
        arguments[KEPT] = torch.tensor(lasts, device=first.ids.device)
    for name in first.types:
        rows = zip(shares, behind, strict=True)
        arguments[name] = torch.cat([pad(one.types[name], (columns - one.start, more)) for one, more in rows])
    # Any text token will do as padding.
    ids = [pad(one.ids, (0, more), value=one.filler) for one, more in zip(shares, behind, strict=True)]
    positions = [pad(one.positions, (0, more)) for one, more in zip(shares, behind, strict=True)]
    inputs: dict[str, Any] = network.prepare_inputs_for_generation(
        torch.cat(ids),
        is_first_iteration=True,
        past_key_values=cache,
        position_ids=torch.cat(alike(positions), dim=-2),
        attention_mask=_mask([share.start for share in shares], columns, tokens, first.ids.device),
        **arguments,
    )
    pictures = [share.pictures for share in shares if share.pictures is not None]
    if pictures:
        inputs[ENCODED] = {"image": merged(pictures).output()}
    return inputs


def _mask(starts: Sequence[int], columns: int, tokens: int, device: torch.device) -> torch.Tensor | None:
    """Ones for a row's columns, its padding included: padding that attends to nothing would become NaN."""
    if min(starts) == columns:
        return None
    begin = columns - torch.tensor(starts, device=device)
    return (torch.arange(columns + tokens, device=device) >= begin[:, None]).long()
