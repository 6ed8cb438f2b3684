"""Reads a job's times as callers write them: Unix seconds, or RFC 3339 with an offset."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.dialects.refusals import invalid
from shared.times import Times

Moment = Annotated[float | str, Field(union_mode="smart")]
LATEST_S = 253_402_300_799
"""The year 9999: a larger number is in another unit."""


def to_times(schedule_at: Moment | None, start_by: Moment | None, finish_by: Moment | None) -> Times:
    """Raises CallerError naming the field."""
    return Times(
        schedule_at=to_ms("schedule_at", schedule_at),
        start_by=to_ms("start_by", start_by),
        finish_by=to_ms("finish_by", finish_by),
    )


def to_ms(name: str, value: Moment | None) -> int | None:
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
