"""When a full record store has room again, by what is known to expire and by how fast it emptied."""

import math

import pytest

from shared.store.headroom import HOUR_S, LEAST_S, UNKNOWN_S, Expiring, Trend


@pytest.mark.parametrize(
    ("expiring", "bytes", "seconds"),
    [
        (Expiring(3600, 0, 1800.0), 100, 100.0),
        (Expiring(3600, 0, 1800.0), 1801, math.inf),
        (Expiring(0, 3600, 60.0), 100, 160.0),
        (Expiring(3600, 7200, 60.0), 160, 110.0),
        (Expiring(0, 0, 60.0), 1, math.inf),
    ],
)
def test_an_hour_s_bytes_go_evenly(expiring: Expiring, bytes: int, seconds: float) -> None:
    assert expiring.frees_in_s(bytes) == pytest.approx(seconds)
    assert HOUR_S == 3600


@pytest.mark.parametrize(
    ("readings", "seconds"),
    [
        ([(0, 100)], UNKNOWN_S),
        ([(0, 100), (LEAST_S - 1, 10)], UNKNOWN_S),
        ([(0, 100), (10, 90)], 50.0),
        ([(0, 10), (20, 100), (30, 90)], 50.0),
        ([(0, 100), (10, 100)], math.inf),
        ([(0, 90), (10, 100)], math.inf),
        ([(0, 900), (100, 100), (110, 90)], 50.0),
    ],
    ids=["one", "short", "falls", "fell since its peak", "stands", "rises", "only the last minute"],
)
def test_a_trend_is_since_the_last_minute_s_peak(readings: list[tuple[float, int]], seconds: float) -> None:
    trend = Trend()
    for at, taken in readings:
        trend.add(at, taken)
    assert trend.frees_in_s(50) == pytest.approx(seconds)
