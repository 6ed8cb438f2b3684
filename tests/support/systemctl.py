"""A stand-in for systemctl, which runs what the units name: `python systemctl.py BOX start|stop|… UNIT…`.

BOX is a folder with the files of one machine: `etc/systemd/system` and `etc/redis`. Processes go on after the
command; `pids` holds one file for each. Only what deploy/systemd uses is understood.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.support.processes import alive

STOP_S = 60


def main(box: Path, verb: str, units: list[str]) -> None:
    units = [unit for unit in units if not unit.startswith("--")]
    if verb in ("stop", "restart"):
        for unit in units:
            for pid_file in list((box / "pids").glob(unit)):
                _stop(pid_file)
    if verb in ("start", "restart", "enable"):
        for unit in units:
            _start(box, unit)


def _start(box: Path, unit: str) -> None:
    if unit == "redis-server":
        argv, env, folder = shlex.split((box / "redis.command").read_text()), dict(os.environ), box
    elif unit.startswith("sightline@"):
        argv, env, folder = _described(box, unit.partition("@")[2])
    else:
        return
    with (box / f"{unit}.log").open("ab") as log:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    (box / "pids" / unit).write_text(str(process.pid))


def _described(box: Path, instance: str) -> tuple[list[str], dict[str, str], Path]:
    """Command, environment and folder, as the unit's file has them."""
    text = (box / "etc/systemd/system/sightline@.service").read_text().replace("%i", instance)
    lines = [line.partition("=") for line in text.splitlines() if re.match(r"[A-Z]\w+=", line)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    for name, _, value in lines:
        if name == "Environment":
            env.update([value.split("=", 1)])  # type: ignore[list-item]
    for name, _, value in lines:
        if name == "EnvironmentFile":
            rows = Path(value).read_text().splitlines()
            env.update(row.split("=", 1) for row in rows if row and not row.startswith("#"))  # type: ignore[misc]
    named = {name: value for name, _, value in lines}
    argv = [re.sub(r"\$\{(\w+)\}", lambda found: env[found[1]], word) for word in named["ExecStart"].split()]
    whole = [part for word in argv for part in (env[word[1:]].split() if word.startswith("$") else [word])]
    return whole, env, Path(named["WorkingDirectory"])


def _stop(pid_file: Path) -> None:
    pid = int(pid_file.read_text())
    pid_file.unlink()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
