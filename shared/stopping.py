"""How a process handles signals that tell it to stop before it has begun to work."""

import os
import signal
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def hold_stops() -> None:
    """From now on stop signals wait, even across `execve`, until the new program calls `stop_at_once`.

    Before that call the program would leave them to the system.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def stop_at_once() -> None:
    """From now on SIGTERM, SIGINT and, unless nohup started it, SIGHUP end the process at once, with 0.

    It holds no work yet. Left to the system these signals would end it like a failure, or, as process 1 of a
    container, not at all. Code that has work to put down takes them over later.
    """
    for number in STOPS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def _stop(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)
