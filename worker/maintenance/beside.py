"""A pass beside the others: what it asks may hang, and nobody's rescue waits for that."""

import threading
from collections.abc import Callable


class Beside:
    """Call it each round: it goes on where its last step is over. It ends with its process."""

    def __init__(self, name: str, run: Callable[[], int]) -> None:
        self._name = name
        self._run = run
        self._count = 0
        self._thread: threading.Thread | None = None

    def __call__(self) -> int:
        """How much the last step did, where it is over by now."""
        if self._thread is not None and self._thread.is_alive():
            return 0
        count, self._count = self._count, 0
        self._thread = threading.Thread(target=self._step, name=self._name, daemon=True)
        self._thread.start()
        return count

    def _step(self) -> None:
        self._count = self._run()
