"""A process that is told to stop before it has begun."""

import os
import signal
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def hold_stops() -> None:
    """From now on these signals wait, also through `execve`, until the new program says `stop_at_once`.

    Until then it would leave them to the system.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def stop_at_once() -> None:
    """From now on SIGTERM, SIGINT and, unless nohup started it, SIGHUP end it there and then, with 0.

    It has nothing in its hands yet. Left to the system they would end it as a failure does, and as number 1
    of a container not at all. Whoever has something to put down takes these signals later.
    """
    for number in STOPS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def _stop(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)
