"""What every benchmark says of itself: where and when it ran, and which limits it kept."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from matplotlib import pyplot
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent / "results"
PACKAGES = ("celery", "kombu", "fastapi", "uvicorn", "uvloop", "httptools", "redis", "hiredis")


@dataclass(frozen=True)
class Bound:
    """A figure that must stay under a limit, or over it."""

    name: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def arguments(name: str, told: str, **numbers: tuple[int, str]) -> argparse.Namespace:
    """`--out` and a number each of `numbers` (default, help)."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=told)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the results")
    for option, (default, told_of) in numbers.items():
        parser.add_argument(f"--{option}", type=int, default=default, help=told_of)
    return parser.parse_args()


def origin(redis: Any) -> dict[str, Any]:
    """When, where and with what; `redis` is a client of the record server."""
    info = redis.info("server")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(str(info.get("valkey_version", info["redis_version"]))),
    }


def machine() -> dict[str, Any]:
    """Where the figures come from; `load` is what else ran when the run began."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": [round(x, 2) for x in os.getloadavg()],
    }


def versions(valkey: str) -> dict[str, str]:
    return {"python": platform.python_version(), "valkey": valkey} | {p: version(p) for p in PACKAGES}


def telling() -> Callable[[str], None]:
    """Prints lines with the seconds since this was called."""
    began = time.monotonic()
    return lambda line: print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)


def table(bounds: Sequence[Bound]) -> str:
    """What a person reads first."""
    lines = [f"{'limit':42}{'value':>14}{'limit':>17}"]
    for b in bounds:
        sign = ">=" if b.at_least else "<="
        lines.append(f"{b.name:42}{b.value:14,.3f} {sign}{b.limit:14,.2f} {b.unit}  {word(b.met)}")
    return "\n".join(lines)


def word(met: bool) -> str:
    return "met" if met else "MISSED"


def listed(bounds: Sequence[Bound]) -> list[dict[str, Any]]:
    return [asdict(b) | {"met": b.met} for b in bounds]


def write(folder: Path, name: str, measured: dict[str, Any], picture: Figure) -> tuple[Path, Path]:
    """<name>.json and <name>.svg."""
    data, drawn = folder / f"{name}.json", folder / f"{name}.svg"
    folder.mkdir(parents=True, exist_ok=True)
    data.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    picture.savefig(drawn, metadata={"Date": None})
    pyplot.close(picture)
    return data, drawn


def conclude(
    folder: Path, name: str, measured: dict[str, Any], bounds: Sequence[Bound], picture: Figure
) -> int:
    """Print the table and write all of it; the exit code, 1 where a target was missed."""
    print(table(bounds))
    for path in write(folder, name, measured | {"limits": listed(bounds)}, picture):
        print(f"wrote {path.name}")
    return 0 if all(bound.met for bound in bounds) else 1


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
