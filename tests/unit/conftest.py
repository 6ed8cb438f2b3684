"""Tests that listen to signals leave none of that behind."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def hangup_left_as_it_was() -> Iterator[None]:
    """A loop that listened to it leaves the system's way: a pytest under nohup would end at the log-out."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)
