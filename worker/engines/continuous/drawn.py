"""Draws the next tokens of all rows that are not plain, and reads them from the device in one go.

On a GPU each read waits for everything before it, and each small operation costs a launch.
"""

import math
from collections.abc import Mapping, Sequence

import torch

from worker.engines.continuous.draw import Draw
from worker.engines.continuous.greedy import Choice, argmax, at_once
from worker.engines.faults import out_of_memory


def drawn(draws: Sequence[Draw], logits: torch.Tensor) -> list[Choice | Exception]:
    """For each row of float32 logits [rows, vocabulary] its token, or what the row's own processors raised.

    A draw counts only once it is accepted. May overwrite `logits`.
    """
    found: dict[int, Choice | Exception] = {}
    bent: dict[int, torch.Tensor] = {}
    for row, (draw, own) in enumerate(zip(draws, logits[:, None], strict=True)):
        try:
            bent[row] = draw.bent(own)
        except Exception as error:
            # It is this row's alone: who takes the token raises it.
            found[row] = error
    found.update(_chosen(draws, bent, at_once(logits)))
    return [found[row] for row in range(len(draws))]


def _chosen(
    draws: Sequence[Draw], bent: Mapping[int, torch.Tensor], most: int
) -> Mapping[int, Choice | Exception]:
    """For each bent row, at most `most` at a time, and one by one where memory runs out over several."""
    try:
        return _together(draws, bent, most)
    except Exception as error:
        if not out_of_memory(error):
            raise
        if len(bent) == 1:
            return dict.fromkeys(bent, error)
    # Here the error is gone, and with it what was computed where it was raised.
    return {row: choice for row in bent for choice in _chosen(draws, {row: bent[row]}, most).values()}


def _together(draws: Sequence[Draw], bent: Mapping[int, torch.Tensor], most: int) -> dict[int, Choice]:
    alike: dict[object, list[int]] = {}
    for row in bent:
        alike.setdefault(draws[row].manner, []).append(row)
    tokens: dict[int, torch.Tensor] = {}
    weights: list[torch.Tensor] = []
    for same in alike.values():
        for rows in (same[at : at + most] for at in range(0, len(same), most)):
            each, weight = _tokens([draws[row] for row in rows], torch.cat([bent[row] for row in rows]))
            tokens.update(zip(rows, each[:, None], strict=True))
            weights.append(weight)
    if not tokens:
        return {}
    read = _read([draws[row] for row in tokens], torch.cat([*tokens.values()]), torch.cat(weights))
    return dict(zip(tokens, read, strict=True))


def _tokens(draws: Sequence[Draw], scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of rows drawn in the same manner; also the weight that each had, NaN where scores are no numbers.

    `torch.multinomial` draws one token just so, too, but takes one generator for all rows, and reads twice to
    check that the probabilities are some.
    """
    scores = draws[0].warped(scores)
    if draws[0].throws:
        scores = scores.softmax(dim=-1)
        race = torch.empty_like(scores)
        for draw, lane in zip(draws, race, strict=True):
            draw.throw(lane)
        tokens = argmax(torch.div(scores, race, out=race))
        return tokens, scores.gather(1, tokens[:, None])[:, 0]
    tokens = argmax(scores)
    return tokens, torch.ones_like(tokens, dtype=scores.dtype)


def _read(draws: Sequence[Draw], tokens: torch.Tensor, weights: torch.Tensor) -> list[Choice]:
    """The probability is NaN also where a row's own processors left scores that are no numbers."""
    logprobs = torch.cat([draw.logprob(token) for draw, token in zip(draws, tokens[:, None], strict=True)])
    logprobs = logprobs.masked_fill(~weights.isfinite(), torch.nan)
    return [
        Choice(token, math.exp(logprob))
        for token, logprob in zip(tokens.tolist(), logprobs.tolist(), strict=True)
    ]
