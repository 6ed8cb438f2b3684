"""SIGHUP, as the rotation of a log sends it, or a terminal that closes."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hangup_as_end() -> Iterator[None]:
    """Meanwhile it ends the process as SIGTERM does, and cuts off nobody who is answered.

    uvicorn leaves it to the system. Under nohup it stays ignored.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, signal.raise_signal, signal.SIGTERM)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
