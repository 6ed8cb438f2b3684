"""The processes under measurement: started, waited for, and ended whatever happens."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from benchmarks.server import START_LIMIT_S, NotStartedError

ROOT = Path(__file__).parents[1]
STOP_LIMIT_S = 30


@dataclass
class Processes:
    """By name, in the order of their start; each writes `<name>.log` in the folder."""

    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, kw_only=True)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(self, name: str, *argv: str, env: Mapping[str, str]) -> None:
        """`env` comes on top of ours."""
        with self.log(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603
                argv, env=dict(os.environ) | dict(env), cwd=ROOT, stdout=log, stderr=log
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_LIMIT_S)
        finally:
            process.kill()
            process.wait()

    def stop_all(self) -> None:
        """Stops all, the last started first, even if the benchmark itself is told to end meanwhile."""
        with ExitStack() as started:
            for name in list(self.processes):
                started.callback(self.stop, name)

    def wait_until(self, name: str, url: str, limit_s: float = START_LIMIT_S) -> None:
        """Until `url` answers 200. Raises NotStartedError."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and not self._dead():
            try:
                with urlopen(url, timeout=2):  # noqa: S310
                    return
            except OSError:
                time.sleep(0.1)
        guilty = self._dead() or name
        raise NotStartedError(
            f"{guilty} did not start:\n{self.log(guilty).read_text(errors='replace')[-2000:]}"
        )

    def _dead(self) -> str:
        """The first process that ended by itself."""
        return next((name for name, process in self.processes.items() if process.poll() is not None), "")
