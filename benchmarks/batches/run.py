"""One run: people ask on the idle service, then beside a batch while processes die; then one is cancelled."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import service
from benchmarks.batches import asker, site
from benchmarks.batches.asker import Asked
from benchmarks.batches.caller import Caller, Told
from benchmarks.batches.left import left_over
from benchmarks.batches.lines import Lines
from benchmarks.batches.memory import Memory
from benchmarks.batches.site import Site

KILLS = {"api": 0.4, "worker": 0.55, "courier": 0.7}
"""How much of the batch is done when each process is killed."""
PART = 5
"""The batch that is cancelled has that many times fewer lines, and no pictures."""
CANCEL_AT = 0.5
WARM_S = 2.0
"""Questions asked in the first seconds do not count."""
TELL_EACH = 0.1
Say = Callable[[str], None]


@dataclass(frozen=True)
class Kill:
    """At a moment of the monotonic clock."""

    name: str
    at: float


@dataclass(frozen=True)
class Outcome:
    """What a run came to; people asked from `began` on, on the idle service until `whole.began`."""

    lines: int
    cut_lines: int
    whole: Told
    cut: Told
    began: float
    asked: Sequence[Asked]
    kills: Sequence[Kill]
    memory: Memory
    redis_used_mb: float
    left: dict[str, int]
    valkey: str


async def run(count: int, idle_s: int, say: Say) -> Outcome:
    """A batch of `count` lines, and a smaller one that is cancelled."""
    lines, cut = Lines("whole", count, pictures=True), Lines("cut", count // PART, pictures=False)
    async with site.opened() as opened:
        paths = [await asyncio.to_thread(_written, opened.folder, one) for one in (lines, cut)]
        say(f"everything serves; the file of {count} lines has {paths[0].stat().st_size / 1e6:.1f} MB")
        memory, caller = Memory(opened), Caller(opened.url, opened.folder)
        watching = asyncio.create_task(memory.watch())
        killer, canceller = Killer(opened, count, say), Canceller(caller, cut.count)
        with _asking(opened) as answers:
            await asyncio.sleep(WARM_S)
            began = time.monotonic()
            await asyncio.sleep(idle_s)
            whole = await caller.run(lines, paths[0], killer.look)
        say(f"{whole.seen[-1].status}: {whole.counts}, {whole.verdict}")
        ended = await caller.run(cut, paths[1], canceller.look)
        say(f"{ended.seen[-1].status}: {ended.counts}, {ended.verdict}")
        watching.cancel()
        await caller.aclose()
        with opened.records.client(decode_responses=True) as redis:
            left = left_over(redis, [whole.batch, ended.batch])
            server = redis.info()
        return Outcome(
            lines=count,
            cut_lines=cut.count,
            whole=whole,
            cut=ended,
            began=began,
            asked=asker.read(answers),
            kills=tuple(killer.kills),
            memory=memory,
            redis_used_mb=float(server["used_memory_peak"]) / 1e6,
            left=left,
            valkey=str(server.get("valkey_version", server["redis_version"])),
        )


@dataclass
class Killer:
    """Kills each process once, in mid-work; the supervisor starts it again."""

    site: Site
    count: int
    say: Say
    kills: list[Kill] = field(default_factory=list)
    _told: float = 0.0

    async def look(self, told: Told) -> None:
        done = told.seen[-1].done / self.count
        if done >= self._told:
            self.say(f"{told.seen[-1].status}, {done:.0%} done")
            self._told = done + TELL_EACH
        due = [name for name, share in KILLS.items() if done >= share][len(self.kills) :]
        if due and told.seen[-1].status == "in_progress":
            self.site.processes[due[0]].send(signal.SIGKILL)
            self.kills.append(Kill(due[0], time.monotonic()))
            self.say(f"{due[0]} killed")


@dataclass
class Canceller:
    """Cancels the batch when half of it is done."""

    caller: Caller
    count: int

    async def look(self, told: Told) -> None:
        seen = told.seen[-1]
        if seen.status == "in_progress" and seen.done >= CANCEL_AT * self.count:
            await self.caller.cancel(told.batch)


def _written(folder: Path, lines: Lines) -> Path:
    path = folder / f"{lines.name}.jsonl"
    lines.write(path)
    return path


@contextmanager
def _asking(opened: Site) -> Iterator[Path]:
    """A caller asks all the time; yields the file with its answers."""
    path = opened.folder / "asked"
    argv = (sys.executable, "-m", "benchmarks.batches.asker", str(opened.port), str(path))
    process = subprocess.Popen(argv, cwd=service.ROOT)  # noqa: S603
    try:
        yield path
    finally:
        process.kill()
        process.wait()
