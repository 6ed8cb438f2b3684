"""Fields and lists that several families share: metadata, times, pages of a list."""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.strict_json import invalid

MAX_PAIRS = 16
MAX_KEY = 64
MAX_VALUE = 512
Metadata = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=MAX_KEY)], Annotated[str, Field(max_length=MAX_VALUE)]
    ],
    Field(max_length=MAX_PAIRS),
]
Moment = Annotated[float | str, Field(union_mode="smart")]
"""Unix seconds, or RFC 3339 with an offset."""
LATEST_S = 253_402_300_799
"""The year 9999: a larger number is in another unit."""
Row = TypeVar("Row", bound="Identified")


class Identified(TypedDict):
    id: str


class ListAnswer(TypedDict):
    """A list; a subclass says of what."""

    object: Literal["list"]
    has_more: bool


class PageAnswer(ListAnswer):
    """A page of a list; a subclass says of what."""

    first_id: str | None
    last_id: str | None


class BriefError(TypedDict):
    code: str
    message: str


class FailureCount(TypedDict):
    """How many lines or pages failed for this reason so far, and the first one's message."""

    code: str
    count: int
    message: str


class PageOf(PageAnswer, Generic[Row]):
    data: list[Row]


def to_ms(name: str, value: Moment | None) -> int | None:
    """Return Unix ms. Raises CallerError naming the field."""
    if value is None:
        return None
    seconds = value if isinstance(value, float | int) else _parsed(name, value)
    if not 0 <= seconds <= LATEST_S:
        raise invalid(name, "is not a time in Unix seconds")
    return round(seconds * 1000)


def _parsed(name: str, value: str) -> float:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise invalid(name, "is neither Unix seconds nor a time like 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise invalid(name, "has no offset; write 2026-01-31T12:00:00Z")
    return moment.timestamp()


def seconds(ms: int | None) -> float | None:
    """Unix ms in seconds; None stays None."""
    return None if ms is None else ms / 1000


def to_page(rows: list[Row], *, has_more: bool = False) -> PageOf[Row]:
    """Rows with ids; `has_more` is always there, since the clients' iterators never end without it."""
    return {
        "object": "list",
        "data": rows,
        "first_id": rows[0]["id"] if rows else None,
        "last_id": rows[-1]["id"] if rows else None,
        "has_more": has_more,
    }
