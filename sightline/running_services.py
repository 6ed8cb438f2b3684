"""Where this user's services run on this machine: `sightline run` records it, commands look it up.

The records are in the home, not in XDG_RUNTIME_DIR: that folder goes with the last log-out, while a service
goes on under nohup, and cron, sudo and supervisors have another one or none.
"""

import json
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class RunningService:
    """Its address, its data folder, and the working folder in which it was started."""

    url: str
    data: str
    folder: str


def _records() -> Path:
    """A file for each port; of this machine only: a home may be shared by several."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "sightline/services" / socket.gethostname()


def recorded(url: str, data: Path, say: Callable[[str], object]) -> AbstractContextManager[object]:
    """Record the service while the block runs; where that fails, say so and go on."""
    try:
        folder = _records()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = folder / f"{urlsplit(url).port}.json"
        # It shows that this process lives: a process id may be used again.
        lock = FileLock(record).acquire(timeout=1)
        record.write_text(json.dumps(asdict(RunningService(url, str(data), str(Path.cwd())))))
    except (OSError, RuntimeError) as error:
        say(f"warning  commands need --url {url}: where it runs cannot be recorded ({error})")
        return nullcontext()
    return lock


def running_services() -> list[RunningService]:
    """Those that are alive; other releases' and other users' are left out."""
    services = list[RunningService]()
    with suppress(OSError, RuntimeError):
        for record in sorted(_records().glob("*.json")):
            with suppress(OSError, ValueError, TypeError):
                try:
                    with FileLock(record, blocking=False):
                        continue
                except Timeout:
                    services.append(RunningService(**json.loads(record.read_bytes())))
    return services
