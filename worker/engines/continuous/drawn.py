"""Draws the next tokens of all rows that are not plain, and reads them from the device in one go.

On a GPU each read waits for everything before it, and each small operation costs a launch.
"""

import math
from collections.abc import Sequence

import torch

from worker.engines.continuous.draw import Draw
from worker.engines.continuous.greedy import Choice, argmax


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
    alike: dict[object, list[int]] = {}
    for row in bent:
        alike.setdefault(draws[row].manner, []).append(row)
    tokens: dict[int, torch.Tensor] = {}
    for rows in alike.values():
        together = _tokens([draws[row] for row in rows], torch.cat([bent[row] for row in rows]))
        tokens.update(zip(rows, together[:, None], strict=True))
    found.update(zip(tokens, _read([draws[row] for row in tokens], [*tokens.values()]), strict=True))
    return [found[row] for row in range(len(draws))]


def _tokens(draws: Sequence[Draw], scores: torch.Tensor) -> torch.Tensor:
    """Of rows drawn in the same manner.

    `torch.multinomial` draws one token just so, too, but takes one generator for all rows, and reads twice to
    check that the probabilities are some.
    """
    scores = draws[0].warped(scores)
    if draws[0].throws:
        scores = scores.softmax(dim=-1)
        race = torch.empty_like(scores)
        for draw, lane in zip(draws, race, strict=True):
            draw.throw(lane)
        scores = scores.div_(race)
    return argmax(scores)


def _read(draws: Sequence[Draw], tokens: Sequence[torch.Tensor]) -> list[Choice]:
    if not tokens:
        return []
    logprobs = torch.cat([draw.logprob(token) for draw, token in zip(draws, tokens, strict=True)])
    return [
        Choice(token, math.exp(logprob))
        for token, logprob in zip(torch.cat(list(tokens)).tolist(), logprobs.tolist(), strict=True)
    ]
