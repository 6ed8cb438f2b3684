"""Makes SIGHUP, which log rotation or a closing terminal sends, end the process in order."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hangup_as_end() -> Iterator[None]:
    """Within it SIGHUP ends the process as SIGTERM does, without cutting off answers.

    uvicorn leaves SIGHUP to the system, which kills the process. Under nohup it stays ignored.
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
