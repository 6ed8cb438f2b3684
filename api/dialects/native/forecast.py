"""POST /v1/estimate: what would become of a job."""

from typing import Annotated, Literal, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.media import PictureUsage, to_picture
from api.dialects.native.jobs import Estimate, known, to_estimate
from shared import tokens
from shared.errors import ServiceError
from shared.estimate import advised_s
from shared.job import CacheWord, WaitingReason
from shared.tokens import Outcome


class ForecastTokens(TypedDict):
    """`image` is part of `prompt`, and the sum of `pictures`, which has them in order. All are null while
    pictures are fetched, `prompt` while sounds are.
    """

    prompt: int | None
    image: int | None
    pictures: list[int] | None
    picture_sizes: Annotated[list[PictureUsage], Field(description="About as the model sees them.")]
    basis: Literal["measured", "guess"]
    answer_at_most: int
    context_length: int | None


class ForecastCost(TypedDict):
    """`requests` of the quota, `places` in the caller's line, and what its `turn` costs, in answer tokens."""

    requests: int
    places: int
    turn: int


class ForecastRefusal(TypedDict):
    """What a submit would be answered."""

    status: int
    code: str
    detail: str
    retryable: bool
    retry_after: int | None


class Forecast(TypedDict):
    """What would become of a job now. A cached answer is there at once; a joined run is another job's."""

    object: Literal["estimate"]
    model: str
    outcome: Outcome
    tokens: ForecastTokens
    cost: ForecastCost
    cache: NotRequired[Annotated[CacheWord, Field(description="As the job would show it.")]]
    waiting_reason: NotRequired[WaitingReason]
    ahead: NotRequired[Annotated[int, Field(description="Runs that would be begun before.")]]
    estimate: NotRequired[
        Annotated[Estimate, Field(description="Until it begins, and how long it then takes.")]
    ]
    refusal: NotRequired[Annotated[ForecastRefusal, Field(description="Where it would be refused.")]]


def to_forecast(forecast: tokens.TokenForecast) -> Forecast:
    """As in a job, fields that do not apply are left out."""
    queued, counts = forecast.outcome == "queued", forecast.tokens
    answer: Forecast = {
        "object": "estimate",
        "model": forecast.model,
        "outcome": forecast.outcome,
        "tokens": {
            "prompt": counts.prompt,
            "image": counts.image,
            "pictures": None if counts.pictures is None else list(counts.pictures),
            "picture_sizes": [to_picture(picture) for picture in counts.seen],
            "basis": cast(Literal["measured", "guess"], counts.basis),
            "answer_at_most": forecast.answer_tokens,
            "context_length": forecast.context_length,
        },
        "cost": {"requests": 1, "places": int(queued), "turn": forecast.cost if queued else 0},
    }
    optional = {
        "cache": forecast.cache,
        "waiting_reason": forecast.waiting_reason,
        "ahead": forecast.ahead,
        "estimate": forecast.estimate and to_estimate(forecast.estimate),
        "refusal": forecast.refusal and _refusal(forecast.refusal),
    }
    return cast(Forecast, answer | known(optional))


def _refusal(error: ServiceError) -> ForecastRefusal:
    """The error with which a submit would be refused."""
    return {
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "retryable": error.retryable,
        "retry_after": None if error.retry_after is None else advised_s(error.retry_after),
    }
