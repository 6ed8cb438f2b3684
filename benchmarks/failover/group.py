"""Start: a primary, two replicas, three Sentinels behind a network, the service on them; and the faults."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from redis import Redis
from redis.exceptions import RedisError

from benchmarks.chaos.network import FABRIC
from benchmarks.chaos.services import WORKERS, ChaosServices
from benchmarks.frame.services import free_port
from shared.cgroup import memory_bytes
from sightline.serving.server import configuration, find_binary

NAME, SERVERS, SENTINELS = "records", 3, 3
DOWN_MS, FAILOVER_MS = 1000, 5000
LAG_S = 2
"""A primary that no replica has answered for so long takes no writes, with `replica`."""
Kind = Literal["killed", "stopped", "cut off", "parted", "handed over", "coordinated"]
KINDS: tuple[Kind, ...] = ("killed", "handed over", "parted", "stopped", "coordinated", "cut off")
"""What the primary meets, by turns: SIGKILL; SIGSTOP; no packet comes or goes; none of the other servers' and
the Sentinels', so that clients which it has go on asking it. An operator plans the others: a primary that is
handed over by `SENTINEL FAILOVER` takes writes meanwhile; with `COORDINATED` it takes none.
"""


class Group(ChaosServices):
    """`acknowledge` is the setting of every process."""

    def __init__(self, folder: Path, acknowledge: str) -> None:
        super().__init__(folder)
        self._acknowledge = acknowledge
        self._ports = [free_port() for _ in range(SERVERS)]
        self._fronts = [free_port() for _ in range(SERVERS)]
        self._sentinels = [free_port() for _ in range(SENTINELS)]
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._sentinels)
        url = f"redis+sentinel://{hosts}/{NAME}/0"
        self.worker_urls = [url] * WORKERS
        self.environment |= {
            "SIGHTLINE_REDIS__URL": url,
            "SIGHTLINE_REDIS__ACKNOWLEDGE": acknowledge,
        }

    def start_records(self) -> None:
        """Start the network, the record servers and the Sentinels."""
        pairs = [f"{front}:{port}" for front, port in zip(self._fronts, self._ports, strict=True)]
        self.python("network", "benchmarks.chaos.network", *pairs)
        binary = str(find_binary().path)
        for number in range(SERVERS):
            self.run(f"redis-{number}", binary, self._server(number))
        self.until(lambda: self.online(0) == SERVERS - 1, "replicas follow")
        for number, port in enumerate(self._sentinels):
            self.run(f"sentinel-{number}", binary, self._sentinel(number, port), "--sentinel")
        self.until(self.healthy, "the Sentinels know all")

    def primary(self) -> int | None:
        """As most Sentinels have it."""
        named = Counter(found["port"] for port in self._sentinels if (found := _ask(port, _named)))
        port, votes = next(iter(named.most_common(1)), (0, 0))
        return self._fronts.index(port) if votes > SENTINELS / 2 else None

    def online(self, number: int) -> int:
        """Replicas that follow a server."""
        info = _ask(self._ports[number], lambda client: client.info("replication")) or {}
        rows = [value for name, value in info.items() if name.startswith("slave") and isinstance(value, dict)]
        return sum(row["state"] == "online" for row in rows) if info.get("role") == "master" else 0

    def healthy(self) -> bool:
        """All servers are where a failover may begin."""
        primary = self.primary()
        if primary is None or self.online(primary) != SERVERS - 1:
            return False
        states = [_ask(port, _named) or {} for port in self._sentinels]
        return all(
            state.get("flags") == "master"
            and state["num-slaves"] == SERVERS - 1
            and state["num-other-sentinels"] == SENTINELS - 1
            for state in states
        )

    async def strike_primary(self, kind: Kind, down_s: float) -> float | None:
        """Strike the primary for so long; return after how many seconds another one was named, if one was."""
        victim = await asyncio.to_thread(self.primary)
        if victim is None:
            return None
        server, network = self[f"redis-{victim}"], self["network"]
        began, moved_s = time.monotonic(), None
        heal: Callable[[], object] | None = None
        match kind:
            case "killed":
                server.kill()
                heal = server.start
            case "stopped":
                server.send(signal.SIGSTOP)
                heal = partial(server.send, signal.SIGCONT)
            case "cut off" | "parted":
                network.write(f"{'cut' if kind == 'cut off' else 'part'} {victim}")
                heal = partial(network.write, f"heal {victim}")
            case _:
                options = ("COORDINATED",) if kind == "coordinated" else ()
                await asyncio.to_thread(_fail_over, self._sentinels[0], *options)
        while (passed_s := time.monotonic() - began) < down_s:
            if moved_s is None and await asyncio.to_thread(self.primary) not in (victim, None):
                moved_s = passed_s
            await asyncio.sleep(0.1)
        if heal:
            heal()
        return moved_s

    def _server(self, number: int) -> str:
        folder = self.folder / f"redis-{number}"
        folder.mkdir()
        lines = [
            configuration(self._ports[number], '""', memory_bytes() / 2**20),
            f"dir {folder}",
            f"bind-source-addr {FABRIC}",
            "replica-announce-ip 127.0.0.1",
            f"replica-announce-port {self._fronts[number]}",
            "repl-diskless-sync-delay 0",
        ]
        if number:
            lines.append(f"replicaof 127.0.0.1 {self._fronts[0]}")
        if self._acknowledge == "replica":
            lines += ["min-replicas-to-write 1", f"min-replicas-max-lag {LAG_S}"]
        return _written(folder / "redis.conf", lines)

    def _sentinel(self, number: int, port: int) -> str:
        folder = self.folder / f"sentinel-{number}"
        folder.mkdir()
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"bind-source-addr {FABRIC}",
            f"dir {folder}",
            "sentinel announce-ip 127.0.0.1",
            f"sentinel monitor {NAME} 127.0.0.1 {self._fronts[0]} 2",
            f"sentinel down-after-milliseconds {NAME} {DOWN_MS}",
            f"sentinel failover-timeout {NAME} {FAILOVER_MS}",
        ]
        return _written(folder / "sentinel.conf", lines)


def _written(file: Path, lines: list[str]) -> str:
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def _ask(port: int, question: Callable[[Any], Any]) -> Any:
    """None where nobody answers."""
    with suppress(RedisError, OSError), Redis(port=port, decode_responses=True, socket_timeout=1) as client:
        return question(client)
    return None


def _fail_over(sentinel: int, *options: str) -> None:
    _ask(sentinel, lambda client: client.execute_command("SENTINEL FAILOVER", NAME, *options))


def _named(sentinel: Any) -> Any:
    return sentinel.sentinel_master(NAME)
