"""Foretells what submitting a request would do now; nothing is kept, and no Idempotency-Key is used up."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from api.admission.submission import Examined, Submission, Terms
from api.server.memory_budget import Reservation
from shared.errors import ServiceError
from shared.estimate import Lane, claimed_s, estimate, waiting_reason
from shared.job import CacheWord, Estimate
from shared.media import pictures, sounds
from shared.models import Model, Models
from shared.request import Media, Request
from shared.settings import Settings
from shared.store.admission import Prospect, foretell
from shared.store.script import AsyncStore
from shared.store.views import UNFORESEEN
from shared.tokens import Foretold, Tokens, answer_tokens, cost, reckoned, rule_of

AT_ONCE = Estimate(0.0, 0.0, 0.0, "measured")
TOLD = frozenset(("model_failed", "caller_queue_full"))
"""Refusals before the line that say nothing against the request itself."""


class Foretelling:
    """Takes the same steps as `submission`, up to joining the line."""

    def __init__(self, settings: Settings, models: Models, store: AsyncStore, submission: Submission) -> None:
        self._settings = settings
        self._models = models
        self._store = store
        self._submission = submission

    async def foretell(
        self, request: Request, terms: Terms, reservation: Reservation | None = None
    ) -> Foretold:
        """What the line, the cache and the model's state would make of a request.

        Raises as `Submission.submit` where the request itself is refused. Where the line refuses it, its
        caller nearly fills the record store, or no worker can load its model, the forecast says so instead.
        """
        model = self._models.resolve(request.model)
        try:
            asked = await self._submission.examined(request, terms, model, reservation)
        except ServiceError as refusal:
            if refusal.code not in TOLD:
                raise
            guess, known = Tokens(None, None, "guess"), cost(request, model, pixels=0)
            told = _of(request, model, guess, model.context_length, known)
            return replace(told, outcome="refused", refusal=refusal)
        sizes, seconds = await asyncio.to_thread(self._measures, asked) if asked.data else ([], [])
        tokens = reckoned(asked.request, sizes, rule_of(asked.lane.token_rule), seconds)
        context_length = model.context_length or asked.lane.context_length
        told = _of(asked.request, model, tokens, context_length, asked.held.cost)
        call = foretell(
            asked.placing, self._settings, pending=asked.pending, max_queued_caller=terms.max_queued
        )
        return await self._told(told, asked, await self._store.run(call), model)

    async def _told(self, told: Foretold, asked: Examined, found: Prospect, model: Model) -> Foretold:
        if found.word == "hit":
            return replace(told, outcome="cached", cache="HIT", estimate=AT_ONCE)
        if found.word not in ("joins", "queued"):
            refusal = await self._submission.refusal_of(found.word, asked.terms, model)
            return replace(told, outcome="refused", refusal=refusal)
        joins = found.word == "joins"
        new: CacheWord | None = None if asked.pending else "MISS" if asked.placing.key else "BYPASS"
        told = replace(told, outcome="joined" if joins else "queued", cache="COALESCED" if joins else new)
        if found.state == "running":
            return replace(told, estimate=replace(AT_ONCE, service_s=claimed_s(found.lane)))
        state = found.state or _state(asked, found.lane.now_ms)
        return _waiting(told, found.lane, state, placed=not asked.pending)

    def _measures(self, asked: Examined) -> tuple[list[tuple[int, int]], list[float]]:
        """Sizes of the inline pictures, about the seconds of the inline sounds; remote ones do not count."""
        request, settings = asked.request, self._settings
        seen = {
            name: pictures.inspect(asked.data[name], settings.pictures, None)
            for name in dict.fromkeys(_names(request.images))
        }
        sizes = [(seen[name].width, seen[name].height) for name in _names(request.images)]
        return sizes, [
            sounds.estimated_s(asked.data[name], settings.sounds) for name in _names(request.sounds)
        ]


def _names(parts: Sequence[Media]) -> list[str]:
    return [part.digest for part in parts if part.digest]


def _of(request: Request, model: Model, tokens: Tokens, context_length: int | None, cost: int) -> Foretold:
    return Foretold(
        model=model.id,
        outcome="queued",
        tokens=tokens,
        answer_tokens=answer_tokens(request, model),
        cost=cost,
        context_length=context_length,
    )


def _state(asked: Examined, now_ms: int) -> str | None:
    """`now_ms` is by the store's clock, which a submit goes by."""
    at = asked.terms.times.schedule_at
    return "scheduled" if at is not None and at > now_ms else None


def _waiting(told: Foretold, lane: Lane, state: str | None, *, placed: bool) -> Foretold:
    """The forecast with what a waiting job shows: why it waits, how many are ahead, how long it takes."""
    reason = waiting_reason(lane, placed=placed, state=state)
    foreseen = None if reason in UNFORESEEN else estimate(lane)
    return replace(told, waiting_reason=reason, ahead=lane.served_first, estimate=foreseen)
