"""What would become of a request, were it submitted now."""

from dataclasses import dataclass
from typing import Literal

from shared.errors import ServiceError
from shared.job import CacheWord, Estimate, WaitingReason
from shared.tokens import Tokens

Outcome = Literal["cached", "joined", "queued", "refused"]


@dataclass(frozen=True)
class Foretold:
    """`cache` is what the job would show, None where its inputs must be fetched first.

    `answer_tokens` is the most that the answers may have together; prompt and answer have to fit into
    `context_length`, where that is known. `cost` is what a new run costs its caller (`shared/cost.py`).
    """

    model: str
    outcome: Outcome
    tokens: Tokens
    answer_tokens: int
    cost: int
    context_length: int | None = None
    cache: CacheWord | None = None
    waiting_reason: WaitingReason | None = None
    ahead: int | None = None
    estimate: Estimate | None = None
    refusal: ServiceError | None = None
