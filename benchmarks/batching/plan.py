"""What is measured (server, model, number format, share of the machine), and the results of all runs on one
machine: a part that is measured again replaces its earlier result."""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.frame.statistics import Bound, ratio

SYSTEMS = {
    "continuous": "ours, engine `continuous`",
    "wide": "ours, engine `continuous`, one worker",
    "sequential": "ours, engine `sequential`",
    "serve": "`transformers serve`",
    "vllm": "vLLM, CPU build",
    "vllm_engine": "ours, engine `vllm`",
}
WIDE = "wide"
"""One worker with a thread for each core; `continuous` is one worker of one thread for each core."""
VLLM_ENGINE = "vllm_engine"
OURS = ("continuous", WIDE, "sequential", VLLM_ENGINE)
VLLM = ("vllm", VLLM_ENGINE)
"""Systems that need vLLM's own Python."""
ONE_BY_ONE = ("sequential", "serve")
"""Systems that compute one answer after the other, so a measurement may end after any answer."""
WHOLE_ONLY = (WIDE, *VLLM)
"""vLLM's engine keeps both cores busy whatever it is bound to."""
BUSY_FILE, BUSY_S = "CLOCK_DEVICE_BUSY_FILE", struct.Struct("d")
"""Environment: the file in which stands how many seconds the clock has worked."""
MODELS = ("tiny", "mid")
DTYPES = ("float32", "bfloat16")
CLIENTS = (1, 4, 8, 16, 32)
CROWDS = (1, 16, 32)
"""Numbers of clients for the whole machine."""
CORES = (1, 2)
ROWS = 16
NAME = "batching"
PART_KEY = ("system", "model", "dtype", "cores")
DECODING_KEY = ("model", "dtype", "rows")
OVERHEAD_KEY = ("model", "dtype", "device", "asked", "clients")
SPEED_TARGET, LOOP_TARGET = 0.9, 0.02
OVERHEAD_TARGET, ALONE_TARGET, AHEAD_TARGET, FIRST_TEXT_MS = 0.99, 0.97, 1.1, 30.0
"""Of vLLM's own server's tokens/s behind our service: with many callers, with one, with large pages or
repeated questions; and what we may add to its first text."""
QUESTIONS, PAGES, REPEATS = "questions", "pages", "repeats"
"""What is asked by turns."""
CPU, CLOCK = "cpu", "clock"
"""Devices of vLLM: the cores on which all else runs, and a clock that leaves them to it."""
LOOP_ROWS = 16


@dataclass(frozen=True)
class Part:
    """One server in one run. With two cores ours are two workers of one thread, others and `wide` have two
    threads."""

    system: str
    model: str
    dtype: str
    cores: int
    device: str = CPU

    @property
    def rows(self) -> int:
        """As many as the largest crowd, on a device that computes them in about the time of one."""
        return 4 * ROWS if self.device == "cuda" else ROWS

    def __str__(self) -> str:
        device = "" if self.device == CPU else f" {self.device}"
        return f"{self.model} {self.dtype} {self.cores} {self.system}{device}"


@dataclass(frozen=True)
class Size:
    """How thoroughly: tokens of an answer, turns of a chat and so on.

    A number of clients is measured until all is answered, or until the first complete answer after a time:
    `one_by_one_s` seconds where answers are computed one after the other, else `together_s`.
    """

    one_by_one_s: float
    together_s: float
    clients: tuple[int, ...]
    longest: int = 128
    turns: int = 5
    chats: int = 2
    at_once: int = 16
    decode_rows: int = 16
    decode_tokens: int = 128
    rounds: int = 5

    def seconds_of(self, part: Part) -> float:
        return self.one_by_one_s if part.system in ONE_BY_ONE else self.together_s

    def clients_of(self, part: Part) -> tuple[int, ...]:
        if part.cores == 1:
            return self.clients
        return tuple(n for n in self.clients if n in CROWDS) or self.clients[-1:]


FULL = Size(15, 60, CLIENTS)
QUICK = Size(
    2, 10, (1, 16), longest=24, turns=2, chats=1, at_once=4, decode_rows=4, decode_tokens=48, rounds=1
)


def parts(systems: Sequence[str], models: Sequence[str], dtypes: Sequence[str]) -> Iterator[Part]:
    """All parts; those that are compared run one right after the other."""
    for model, dtype, cores, system in product(models, dtypes, CORES, systems):
        if system not in WHOLE_ONLY or cores == max(CORES):
            yield Part(system, model, dtype, cores)


class OtherMachineError(Exception):
    """Figures of two machines must not share a table; the message says what to do."""


class Results:
    """results/batching.json, written after every part: a run that is interrupted loses one at most."""

    def __init__(self, folder: Path, machine: dict[str, Any]) -> None:
        """Raises OtherMachineError."""
        self._file = folder / f"{NAME}.json"
        self.rows: dict[str, Any] = {"machine": machine, "parts": [], "decoding": [], "overheads": []}
        if self._file.exists():
            self.rows = json.loads(self._file.read_text(encoding="utf-8"))
        if any(self.rows["machine"][name] != machine[name] for name in ("cpu", "cores")):
            raise OtherMachineError(f"{self._file} is of another machine: remove it, or name another --out")
        self.rows["machine"] = machine

    def add(self, part: Part, measured: dict[str, Any]) -> None:
        """Keeps points of client numbers that were not measured again, each with its own date."""
        row = asdict(part) | measured
        points = {name: point | {"date": measured["date"]} for name, point in measured["points"].items()}
        for old in self.rows["parts"]:
            if _key(old, PART_KEY) == _key(row, PART_KEY):
                points = old["points"] | points
        row["points"] = dict(sorted(points.items(), key=lambda item: int(item[0])))
        self._put("parts", row, PART_KEY)

    def add_decoding(self, row: dict[str, Any]) -> None:
        self._put("decoding", row, DECODING_KEY)

    def add_overhead(self, row: dict[str, Any]) -> None:
        self._put("overheads", row, OVERHEAD_KEY)

    def save(self, **about: Any) -> None:
        """Complete at any moment: the file is replaced, not written into."""
        self.rows = self.rows | about
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(self.rows, indent=1) + "\n", encoding="utf-8")
        new.replace(self._file)

    def bounds(self) -> list[Bound]:
        bounds = []
        for row in self.rows["decoding"]:
            case = f"{row['model']} {row['dtype']}, {row['rows']} rows"
            speed, loop = row["speed_over_generate"], row["loop_share"]
            bounds.append(Bound(f"decode over generate(), {case}", speed, SPEED_TARGET, "", at_least=True))
            if row["model"] == "mid" and row["rows"] >= LOOP_ROWS:
                bounds.append(Bound(f"loop's share of a step, {case}", loop, LOOP_TARGET, ""))
        return [*bounds, *(bound for row in self.rows["overheads"] for bound in _overhead_bounds(row))]

    def _put(self, kind: str, row: dict[str, Any], names: Sequence[str]) -> None:
        key = _key(row, names)
        others = [other for other in self.rows[kind] if _key(other, names) != key]
        self.rows[kind] = sorted([*others, row], key=lambda one: _key(one, names))


def device_of(row: dict[str, Any]) -> str:
    """What computed: a CPU by its number format, which a clock has none of."""
    return str(row["dtype"] if row["device"] == CPU else row["device"])


def _overhead_bounds(row: dict[str, Any]) -> Iterator[Bound]:
    """Medians over pairs of laps."""
    own, ours = row["vllm"], row["vllm_engine"]
    case = f"engine vllm, {device_of(row)}, {row['asked']}, callers: {row['clients']}"
    speed = ratio("", "", ours["tokens_per_s"], own["tokens_per_s"]).value
    if row["asked"] != QUESTIONS:
        yield Bound(case, speed, AHEAD_TARGET, "", at_least=True)
        return
    target = OVERHEAD_TARGET if row["clients"] > 1 else ALONE_TARGET
    yield Bound(case, speed, target, "", at_least=True)
    pairs = zip(ours["ttft_p50_ms"], own["ttft_p50_ms"], strict=True)
    later = round(median(mine - theirs for mine, theirs in pairs), 1)
    yield Bound(f"{case}: first text later", later, FIRST_TEXT_MS, "ms")


def _key(row: dict[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)
