"""Where this user's services run on this machine: `sightline run` records it, commands look it up.

The records are in the home, not in XDG_RUNTIME_DIR: that folder goes with the last log-out, while a service
goes on under nohup, and cron, sudo and supervisors have another one or none.
"""

import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from shared.settings import CLIENT_URL
from sightline.exits import CommandError, Exit
from sightline.file_lock import try_lock

LOCAL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class RunningService:
    """Its address, its data folder, and the working folder in which it was started."""

    url: str
    data: str
    folder: str


def _records() -> Path:
    """Of this machine only: a home may be shared by several."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "sightline/services" / socket.gethostname()


@contextmanager
def recorded(url: str, data: Path, say: Callable[[str], object]) -> Iterator[None]:
    """Record the service while the block runs; where that fails, say so and go on."""
    try:
        path, lock = _record(RunningService(url, str(data), str(Path.cwd())))
    except (OSError, RuntimeError) as error:
        say(f"warning  commands need --url {url}: where it runs cannot be recorded ({error})")
        yield
        return
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _record(service: RunningService) -> tuple[Path, TextIO]:
    """The record, and the file whose lock shows that this process lives: a process id may be used again."""
    folder = _records()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{secrets.token_hex(8)}.json"
    # Under its last name it is whole and locked.
    draft = path.with_suffix(".draft")
    file = draft.open("x", encoding="utf-8")
    try_lock(file)
    json.dump(asdict(service), file)
    file.flush()
    return draft.rename(path), file


def running_services() -> list[RunningService]:
    """Those that are alive; records of others, killed or cut off with the machine, are removed."""
    try:
        paths = list(_records().glob("*.json"))
    except (OSError, RuntimeError):
        return []
    services = [service for path in paths if (service := _alive(path))]
    return sorted(services, key=lambda service: service.url)


def _alive(path: Path) -> RunningService | None:
    try:
        with path.open(encoding="utf-8") as file:
            if not try_lock(file, shared=True):
                return RunningService(**json.load(file))
            path.unlink()
    except (OSError, ValueError, TypeError):
        # It has ended meanwhile, or is another user's or another release's.
        pass
    return None


def service_url() -> str:
    """The address of the service that a command means which names none. Raises CommandError.

    A service that is recorded and does not answer is not passed over for another one.
    """
    services = running_services()
    if len(services) > 1:
        here = str(Path.cwd())
        services = [service for service in services if service.folder == here] or services
    if len(services) > 1:
        names = ", ".join(f"{service.url} (data in {service.data})" for service in services)
        raise CommandError(
            Exit.USAGE, f"Several services run here: {names}. Name one with --url or {CLIENT_URL}."
        )
    return services[0].url if services else LOCAL
