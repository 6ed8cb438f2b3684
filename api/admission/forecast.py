"""Predicts what submitting a request would do now; nothing is stored, and no Idempotency-Key is used up."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from api.admission.submission import CheckedRequest, Submission, Terms
from api.server.memory_budget import Reservation
from shared.errors import ServiceError
from shared.estimate import claimed_s, estimate, waiting_reason
from shared.job import CacheWord, Estimate
from shared.media import pictures, sounds
from shared.models import Model, Models
from shared.request import Media, Request
from shared.settings import Settings
from shared.store.admission import Prediction, predict
from shared.store.script import AsyncStore
from shared.store.views import UNFORESEEN
from shared.tokens import TokenForecast, Tokens, answer_tokens, cost, estimate_tokens, rule_of

IMMEDIATE = Estimate(0.0, 0.0, 0.0, "measured")
PREDICTED = frozenset(("model_failed", "caller_queue_full"))
"""Refusals before the queue that say nothing against the request itself."""


class Forecaster:
    """Takes the same steps as `submission`, up to joining the queue."""

    def __init__(self, settings: Settings, models: Models, store: AsyncStore, submission: Submission) -> None:
        self._settings = settings
        self._models = models
        self._store = store
        self._submission = submission

    async def forecast(
        self, request: Request, terms: Terms, reservation: Reservation | None = None, *, rows: int = 1
    ) -> TokenForecast:
        """What the queue, the cache and the model's state would make of a request, the last of `rows` alike.

        Raises as `Submission.submit` where the request itself is refused. Where the queue refuses it, its
        caller nearly fills the record store, or no worker can load its model, the forecast says so instead.
        """
        model = self._models.resolve(request.model)
        try:
            await self._submission.check_room(terms.caller.id)
            checked = await self._submission.check(request, terms, model, reservation)
        except ServiceError as refusal:
            if refusal.code not in PREDICTED:
                raise
            tokens, work = Tokens(None, None, "guess"), cost(request, model, pixels=0)
            forecast = _forecast(request, model, tokens, model.length(None), work)
            return replace(forecast, outcome="refused", refusal=refusal)
        sizes, seconds = await asyncio.to_thread(self._measure, checked) if checked.data else ([], [])
        tokens = estimate_tokens(checked.request, sizes, rule_of(checked.lane.token_rule), seconds)
        context_length = model.length(checked.lane.context_length)
        forecast = _forecast(checked.request, model, tokens, context_length, checked.pending_terms.cost)
        call = predict(
            checked.placing,
            self._settings,
            pending=checked.pending,
            max_queued_caller=terms.caller.max_queued,
        )
        prediction = await self._store.run(call)
        lane = replace(prediction.lane, ahead=max(prediction.lane.ahead, 0) + rows - 1)
        return await self._with_outcome(forecast, checked, replace(prediction, lane=lane), model)

    async def _with_outcome(
        self, forecast: TokenForecast, checked: CheckedRequest, prediction: Prediction, model: Model
    ) -> TokenForecast:
        if prediction.word == "hit":
            return replace(forecast, outcome="cached", cache="HIT", estimate=IMMEDIATE)
        if prediction.word not in ("joins", "queued"):
            refusal = await self._submission.refusal_for(prediction.word, checked, model)
            return replace(forecast, outcome="refused", refusal=refusal)
        if prediction.word == "joins":
            forecast = replace(forecast, outcome="joined", cache="COALESCED")
        else:
            forecast = replace(forecast, outcome="queued", cache=_cache_of(checked))
        if prediction.state == "running":
            return replace(forecast, estimate=replace(IMMEDIATE, service_s=claimed_s(prediction.lane)))
        reason = waiting_reason(prediction.lane, placed=not checked.pending, state=prediction.state)
        time = None if reason in UNFORESEEN else estimate(prediction.lane)
        ahead = prediction.lane.served_first
        return replace(forecast, waiting_reason=reason, ahead=ahead, estimate=time)

    def _measure(self, checked: CheckedRequest) -> tuple[list[tuple[int, int]], list[float]]:
        """Sizes of the inline pictures, about the seconds of the inline sounds; remote ones are left out."""
        request, data, settings = checked.request, checked.data, self._settings
        images = _digests(request.images)
        sizes = {name: pictures.inspect(data[name], settings.pictures, None) for name in set(images)}
        known = [(sizes[part.digest].size, part) for part in request.shown if part.digest]
        rooms = pictures.rooms([size for size, _ in known], [part for _, part in known], settings.pictures)
        pixels = [room.fitted(size) for room, (size, _) in zip(rooms, known, strict=True)]
        recordings = _digests(request.sounds)
        return pixels, [sounds.estimated_s(data[name], settings.sounds) for name in recordings]


def _digests(parts: Sequence[Media]) -> list[str]:
    return [part.digest for part in parts if part.digest]


def _forecast(
    request: Request, model: Model, tokens: Tokens, context_length: int | None, cost: int
) -> TokenForecast:
    return TokenForecast(
        model=model.id,
        outcome="queued",
        tokens=tokens,
        answer_tokens=answer_tokens(request, model),
        cost=cost,
        context_length=context_length,
    )


def _cache_of(checked: CheckedRequest) -> CacheWord | None:
    """The cache word of a new run; None where its inputs must be fetched first."""
    if checked.pending:
        return None
    return "MISS" if checked.placing.key else "BYPASS"
