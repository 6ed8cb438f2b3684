"""Start: a primary, two replicas, three Sentinels behind a network, the service on them; and the faults."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
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
STEP_S = 1.0
"""Between two steps of an operator who moves an address."""
LAG_S = 2
"""A primary that no replica has answered for so long takes no writes, with `replica`."""
Kind = Literal["killed", "stopped", "cut off", "parted", "handed over", "coordinated", "promoted"]
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
        self.kinds = KINDS
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

    def start_servers(self, addresses: Sequence[str] = ()) -> None:
        """The network, with further addresses, and the record servers."""
        pairs = [f"{front}:{port}" for front, port in zip(self._fronts, self._ports, strict=True)]
        self.python("network", "benchmarks.chaos.network", *pairs, *addresses, commands=True)
        for number in range(SERVERS):
            self.run(f"redis-{number}", str(find_binary().path), self._server(number))
        self.until(lambda: self.online(0) == SERVERS - 1, "replicas follow")

    def start_records(self) -> None:
        self.start_servers()
        binary = str(find_binary().path)
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
        """The primary meets it for so long; after how many seconds another one was named, if one was."""
        victim = await asyncio.to_thread(self.primary)
        if victim is None:
            return None
        server, network = self[f"redis-{victim}"], self["network"]
        began, moved_s = time.monotonic(), None
        planned: asyncio.Task[None] | None = None
        match kind:
            case "killed":
                server.kill()
            case "stopped":
                server.send(signal.SIGSTOP)
            case "cut off" | "parted":
                network.write(f"{'cut' if kind == 'cut off' else 'part'} {victim}")
            case _:
                planned = asyncio.create_task(asyncio.to_thread(self._hand_over, victim, kind))
        while (passed_s := time.monotonic() - began) < down_s:
            if moved_s is None and await asyncio.to_thread(self.primary) not in (victim, None):
                moved_s = passed_s
            await asyncio.sleep(0.1)
        match kind:
            case "killed":
                server.start()
            case "stopped":
                server.send(signal.SIGCONT)
            case "cut off" | "parted":
                network.write(f"heal {victim}")
        if planned:
            await planned
        return moved_s

    def _hand_over(self, victim: int, kind: Kind) -> None:  # noqa: ARG002
        options = ("COORDINATED",) if kind == "coordinated" else ()
        _ask(
            self._sentinels[0], lambda sentinel: sentinel.execute_command("SENTINEL FAILOVER", NAME, *options)
        )

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


class AddressedGroup(Group):
    """No Sentinels: clients reach the primary at an address, which an operator moves with it."""

    def __init__(self, folder: Path, acknowledge: str) -> None:
        super().__init__(folder, acknowledge)
        self.kinds = ("promoted", "coordinated")
        self._address, self._primary = free_port(), 0
        url = f"redis://127.0.0.1:{self._address}/0"
        self.worker_urls = [url] * WORKERS
        self.environment["SIGHTLINE_REDIS__URL"] = url

    def start_records(self) -> None:
        self.start_servers([f"{self._address}:{self._ports[0]}"])

    def primary(self) -> int:
        return self._primary

    def healthy(self) -> bool:
        return self.online(self._primary) == SERVERS - 1

    def _hand_over(self, victim: int, kind: Kind) -> None:
        """Step by step, as by hand. If it is not coordinated, the former primary serves its connections."""
        number = (victim + 1) % SERVERS
        front = self._fronts[number]
        if kind == "coordinated":
            _ask(
                self._ports[victim], lambda client: client.execute_command("FAILOVER TO", "127.0.0.1", front)
            )
        else:
            _ask(self._ports[number], lambda client: client.replicaof("NO", "ONE"))
        time.sleep(STEP_S)
        self["network"].write(f"move {SERVERS} {self._ports[number]}")
        self._primary = number
        for other in ((number + 1) % SERVERS, victim):
            time.sleep(STEP_S)
            _ask(self._ports[other], lambda client: client.replicaof("127.0.0.1", front))


def _written(file: Path, lines: list[str]) -> str:
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def _ask(port: int, question: Callable[[Any], Any]) -> Any:
    """None where nobody answers."""
    with suppress(RedisError, OSError), Redis(port=port, decode_responses=True, socket_timeout=1) as client:
        return question(client)
    return None


def _named(sentinel: Any) -> Any:
    return sentinel.sentinel_master(NAME)
