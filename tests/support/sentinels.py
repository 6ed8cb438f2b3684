"""A primary, its replicas and three Sentinels, of the bundled Valkey, on loopback."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from tests.support.clients import until
from tests.support.ports import free_port
from tests.support.reaper import watch
from tests.support.redis_server import WAIT, RedisServer, binary, redis_server
from tests.support.tls import Certificates, either_front

NAME = "records"
PASSWORD, OTHER = "a/b", "c"
DOWN_MS, FAILOVER_MS = 500, 3000


@dataclass(frozen=True)
class Group:
    """`url` names the Sentinels; `primary` is the one of the start."""

    url: str
    primary: RedisServer
    first: "subprocess.Popen[bytes]"
    sentinel: int

    def lose_primary(self) -> None:
        """Once the replica has all. The Sentinel that is asked first hangs meanwhile."""
        with Redis(port=self.primary.port, password=PASSWORD) as client:
            until(lambda: client.wait(1, 1000) == 1)
        self.first.send_signal(signal.SIGSTOP)
        self.primary.kill()

    def hand_over(self) -> None:
        """Plan a failover, and return once the former primary is a replica of the next one."""
        with Redis(port=self.sentinel, password=OTHER) as asked:
            asked.execute_command("SENTINEL", "FAILOVER", NAME)
        with Redis(port=self.primary.port, password=PASSWORD) as client:
            until(lambda: client.info("replication").get("master_link_status") == "up")


@contextmanager
def sentinels(made: Certificates | None = None, replicas: int = 1) -> Iterator[Group]:
    """With certificates clients may speak TLS to all of them, at the ports that the Sentinels name."""
    with ExitStack() as stack:

        def fronted(port: int) -> int:
            return stack.enter_context(either_front(port, made)) if made else port

        primary = stack.enter_context(redis_server("--repl-diskless-sync-delay", "0"))
        known = fronted(primary.port)
        followers = [
            stack.enter_context(redis_server("--repl-diskless-sync-delay", "0")) for _ in range(replicas)
        ]
        for replica in followers:
            with Redis(port=replica.port) as client:
                client.config_set("replica-announce-port", fronted(replica.port))
                client.replicaof("127.0.0.1", known)
        for server in (primary, *followers):
            with Redis(port=server.port) as client:
                client.config_set("masterauth", PASSWORD)
                client.config_set("requirepass", PASSWORD)
        started = [stack.enter_context(_sentinel(known)) for _ in range(3)]
        ports = [port for port, _ in started]
        for port in ports:
            with Redis(port=port, password=OTHER, decode_responses=True) as asked:
                until(partial(_knows_all, asked, replicas))
        hosts = ",".join(f"127.0.0.1:{fronted(port)}" for port in ports)
        scheme = "rediss" if made else "redis"
        url = (
            f"{scheme}+sentinel://:{PASSWORD.replace('/', '%2F')}@{hosts}/{NAME}/0?sentinel_password={OTHER}"
        )
        yield Group(url, primary, started[0][1], ports[1])
        if primary.process.poll() is not None:
            primary.start()


def _knows_all(client: Any, replicas: int) -> bool:
    state = client.sentinel_master(NAME)
    return bool(state["num-slaves"] == replicas and state["num-other-sentinels"] == 2)


@contextmanager
def _sentinel(primary: int) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    with TemporaryDirectory(prefix="sightline-sentinel-") as folder:
        port, file = free_port(), Path(folder, "sentinel.conf")
        file.write_text("\n".join(_lines(port, primary, folder)))
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([str(binary()), str(file), "--sentinel"], stdout=log, stderr=log)
        unwatch = watch(process.pid)
        try:
            with Redis(port=port, password=OTHER, retry=WAIT) as client:
                client.ping()
            yield port, process
        finally:
            process.kill()
            process.wait()
            unwatch()


def _lines(port: int, primary: int, folder: str) -> Sequence[str]:
    return (
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor {NAME} 127.0.0.1 {primary} 2",
        f"sentinel auth-pass {NAME} {PASSWORD}",
        f"requirepass {OTHER}",
        f"sentinel sentinel-pass {OTHER}",
        f"sentinel down-after-milliseconds {NAME} {DOWN_MS}",
        f"sentinel failover-timeout {NAME} {FAILOVER_MS}",
    )
