"""A log's rotation, or a terminal that closes, cuts off nobody who is answered."""

import signal

import pytest

from tests.support.app import serving
from tests.support.clients import until_async
from tests.support.fake_service import FakeService


@pytest.mark.usefixtures("hangup_heard")
async def test_a_hangup_ends_an_api_in_order_and_not_at_once(ends: list[int]) -> None:
    async with serving(FakeService()):
        assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL, "the tests would end here"
        signal.raise_signal(signal.SIGHUP)

        async def told() -> bool:
            return ends == [signal.SIGTERM]

        await until_async(told)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


async def test_an_api_under_nohup_outlives_its_terminal(ends: list[int]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with serving(FakeService()) as client:
            signal.raise_signal(signal.SIGHUP)
            assert (await client.get("/health")).status_code == 200
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not ends
