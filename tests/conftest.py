"""Tests that draw their examples take the time that they need, and draw the same each time.

Hypothesis gives an example 0.2 s, and all drawing 1 s, which a busy machine misses at times. Of what a test
draws and `assume` then refuses it takes no fifty before ten good ones, which the dice miss at times.
"""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.random_draws import decided_by_seed

settings.register_profile(
    "patient",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
)
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _decided_by_seed() -> Iterator[None]:
    with decided_by_seed():
        yield


@pytest.fixture
def hangup_heard() -> Iterator[None]:
    """By this process and those that it starts, also where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
