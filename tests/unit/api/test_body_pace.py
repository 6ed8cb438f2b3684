"""How slowly a body may come, without any connection."""

import asyncio
from typing import Any

import pytest

from api.server import body
from shared.errors import CallerError


async def never() -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("received", "in_memory", "left"),
    [(0, False, 64), (0, True, 64), (8 * 2**20, True, 1024), (8 * 2**20, False, 64), (1000, True, 64)],
)
async def test_the_more_of_a_body_waits_in_memory_the_faster_its_rest_has_to_come(
    monkeypatch: pytest.MonkeyPatch, received: int, in_memory: bool, left: int
) -> None:
    monkeypatch.setattr(body, "STRETCH_LIMIT_S", 0.01)
    pace = body._Pace(60.0 if in_memory else None)
    with pytest.raises(CallerError, match=f" {left} KiB more") as refused:
        await pace.keep(never, received)
    assert (refused.value.code, refused.value.status) == ("upload_timeout", 408)


async def test_a_body_in_memory_has_its_whole_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "STRETCH_LIMIT_S", 60.0)
    with pytest.raises(CallerError, match=r"did not arrive within 0\.01 s") as refused:
        await body._Pace(0.01).keep(never, 0)
    assert refused.value.code == "upload_timeout"
