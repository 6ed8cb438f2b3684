"""Runs a pass in a thread of its own, so that the other passes do not wait if it hangs."""

import threading
from collections.abc import Callable


class Beside:
    """Call it each round: it starts the next step if the last one is over, on a daemon thread."""

    def __init__(self, name: str, run: Callable[[], int]) -> None:
        self._name = name
        self._run = run
        self._count = 0
        self._thread: threading.Thread | None = None

    def __call__(self) -> int:
        """How much the last step did; 0 if it is not over yet."""
        if self._thread is not None and self._thread.is_alive():
            return 0
        count, self._count = self._count, 0
        self._thread = threading.Thread(target=self._step, name=self._name, daemon=True)
        self._thread.start()
        return count

    def _step(self) -> None:
        self._count = self._run()
