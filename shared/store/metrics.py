"""Samples of every line, for charts; what API processes refuse is part of them."""

import time
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from shared.metrics.series import LONGEST_MIN, STEP_S, Sample
from shared.settings import Settings
from shared.store.constants import constants
from shared.store.script import AsyncStore, ScriptCall, store_errors

MOST_SAMPLED = 100
"""Lanes of one sample at most, two hundred bytes each."""
LONGEST_S = LONGEST_MIN * 60


def sample(settings: Settings) -> ScriptCall[int]:
    """Keep how every line stands now, for as long as charts show it; once in a step.

    Returns the store's time in Unix ms.
    """
    arguments = {
        "most": MOST_SAMPLED,
        "step_ms": STEP_S * 1000,
        "keep": LONGEST_S // STEP_S + 1,
        "life_s": LONGEST_S,
    }
    return ScriptCall("sample", arguments, int, constants=constants(settings))


def refuse(message: str, counts: Mapping[str, float]) -> ScriptCall[None]:
    """How many requests a process has refused since its last message, by code; this one has a name."""
    arguments = {"message": message, "counts": counts, "life_s": LONGEST_S}
    return ScriptCall("refuse", arguments, lambda _: None)


def series() -> ScriptCall[tuple[int, list[Sample]]]:
    """The store's time in Unix ms, and the samples, the oldest first."""

    def parse(reply: list[Any]) -> tuple[int, list[Sample]]:
        now_ms, rows = reply
        return now_ms, [Sample(**from_json(row)) for row in rows]

    return ScriptCall("series", {}, parse)


async def round_trip_s(store: AsyncStore) -> float:
    """How long the record store takes to answer at all. Raises Unavailable."""
    began = time.perf_counter()
    with store_errors():
        await store.client.ping()
    return time.perf_counter() - began
