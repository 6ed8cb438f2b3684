"""A process that is told to stop before it has begun."""

import os
import signal
from types import FrameType


def stop_at_once() -> None:
    """From now on SIGTERM, SIGINT and, unless nohup started it, SIGHUP end it there and then, with 0.

    It has nothing in its hands yet. Left to the system they would end it as a failure does, and as number 1
    of a container not at all. Whoever has something to put down takes these signals later.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)
