"""`sightline run`, the whole service on this machine, and `sightline node`, its part that serves models."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx
from pydantic import SecretStr

from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.models import Models
from shared.models_file import load_models
from shared.registry import Registry
from shared.settings import (
    SHIPPED_MODELS,
    BlobSettings,
    RedisSettings,
    Settings,
    SettingsError,
    load_settings,
)
from shared.store.files import identity
from shared.store.models import registrations
from shared.store.script import Store, connect
from shared.store.server import LOADING, Server, make_room, probe
from shared.store.workers import forget
from shared.telemetry.traces import check_traces
from sightline.exits import CommandError, Exit
from sightline.running_services import recorded
from sightline.service_client import bearer
from sightline.serving.devices import Devices
from sightline.serving.folder import OTHERS, DataFolder, display_path
from sightline.serving.fork_server import ForkServer
from sightline.serving.model_argument import ModelArgument, write_models_file
from sightline.serving.node import Node
from sightline.serving.open_files import FEWEST, allow_files
from sightline.serving.plan import Plan, fork_server, own_server
from sightline.serving.processes import settings_of_process
from sightline.serving.sample import Sample
from sightline.serving.server import ROOM, check_kind, check_rights, find_binary
from sightline.serving.supervisor import Supervisor
from sightline.tls import check_tls, trusting

POLL_S = 0.2
RECORD_SERVER_S = 60.0
# Longer than every child's own grace time: for the watchdog, and for waiting for an earlier service to end.
LAST_GRACE_S = 60.0


def say(line: str) -> None:
    """Print a progress line at once, even to a file; goes on where that cannot be."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def run(port: int, data: Path, wanted: ModelArgument) -> Exit:
    """Check what can be checked, then start, answer one question, serve. Raises CommandError."""
    try:
        settings = load_settings()
        check_traces(settings)
        models = load_models(settings.models_file)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    check_tls(settings.api)
    check_port(port)
    copies = wanted.copies(models.rows)
    check_files()
    # For all files of this process and of those that it starts.
    os.umask(OTHERS)
    folder = DataFolder(data)
    lock_fd = folder.lock(LAST_GRACE_S)
    # What an earlier service took is free by now.
    devices = Devices(settings.node.memory_mb)
    if wanted.model is not None:
        settings = settings.model_copy(update={"models_file": folder.models_file})
        write_models_file(wanted, copies, models.rows, folder.models_file, say)
        models = load_models(folder.models_file)
    devices.check(models.rows)
    which = " (shipped: there is no models.toml here)" if settings.models_file == SHIPPED_MODELS else ""
    say(f"models   {display_path(settings.models_file)}{which}")
    with forking(settings, models, folder) as server:
        runner = Runner(settings, models, folder, port, lock_fd, devices, copies, server)
        asyncio.run(until_stopped(runner.serve))
    # Nothing else shows it: processes go on writing to files that have no name any more.
    if not os.fstat(lock_fd).st_nlink:
        message = f"The data folder {folder.path} was deleted while the service ran: what it kept is lost."
        raise CommandError(Exit.DATA, message)
    say("stopped (the data is kept)")
    return Exit.OK


def run_node() -> Exit:
    """Check what can be checked, then serve the catalogue on this machine's devices. Raises CommandError."""
    settings = settings_of_process()
    try:
        models = load_models(settings.models_file)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    devices = Devices(settings.node.memory_mb)
    devices.check(models.rows)
    check_files()
    url, store = settings.redis.url.get_secret_value(), connect(settings.redis)
    with forking(settings, models) as server:
        plan = Plan(settings, url, fork_server=server)

        async def serve(supervisor: Supervisor) -> None:
            await Node(supervisor, plan, Registry(models), store, devices, say).run()

        asyncio.run(until_stopped(serve))
    return Exit.OK


@contextlib.contextmanager
def forking(
    settings: Settings, models: Models, data: DataFolder | None = None
) -> Iterator[ForkServer | None]:
    """The fork server, until all workers have ended. Raises CommandError."""
    server = fork_server(settings, models.rows, data)
    with contextlib.nullcontext() if server is None else contextlib.closing(server):
        yield server


def check_port(port: int) -> None:
    """Raise CommandError where something else listens on the port."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError as error:
        raise CommandError(
            Exit.PORT,
            f"Port {port} cannot be used: {os.strerror(error.errno or 0)}; choose another "
            "(make run PORT=8080, sightline run --port 8080; a second service with DATA=more, --data more).",
        ) from None


def check_files() -> None:
    """Warn where the system lets the processes have too few files open."""
    if (files := allow_files()) < FEWEST:
        say(
            f"warning  {files} open files are too few where many call at once: processes cannot reach each "
            f"other then (raise the hard limit, ulimit -Hn, to {FEWEST} or more)"
        )


async def until_stopped(serve: Callable[[Supervisor], Awaitable[None]]) -> None:
    """Serve until SIGINT, SIGTERM or, unless under nohup, SIGHUP; these do not interrupt the stopping."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Supervisor(say, LAST_GRACE_S) as supervisor:
        work = asyncio.ensure_future(serve(supervisor))
        stop = asyncio.create_task(stopped.wait())
        done, pending = await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*done, *pending, return_exceptions=True)
        if stop not in done:
            work.result()
        say("stopping")


class Runner:
    """One start of the service."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        data: DataFolder,
        port: int,
        lock_fd: int,
        devices: Devices,
        copies: int = 1,
        fork_server: ForkServer | None = None,
    ) -> None:
        self._settings = settings
        self._models = models
        self._data = data
        self._port = port
        self._lock_fd = lock_fd
        self._devices = devices
        self._copies = copies
        self._fork_server = fork_server
        self._own_server = "url" not in settings.redis.model_fields_set

    async def serve(self, supervisor: Supervisor) -> None:
        """Start everything and keep it running; never ends by itself. Raises CommandError."""
        url = await self._records(supervisor)
        redis = self._settings.redis.model_copy(update={"url": SecretStr(url)})
        store = connect(redis)
        plan = Plan(self._settings, url, self._data, self._port, self._fork_server)
        registry = Registry(self._models)
        await asyncio.to_thread(self._load_models, registry, store, redis)
        node = Node(supervisor, plan, registry, store, self._devices, say, self._copies)
        supervisor.start(plan.api())
        say(f"api      {plan.url}")
        courier = supervisor.start(plan.courier())
        say("courier  fetches pictures and repairs the queue")
        key = self._settings.api.admin_key
        headers = bearer(None if key is None else key.get_secret_value())
        client = httpx.AsyncClient(
            base_url=plan.url,
            timeout=10,
            trust_env=False,
            headers=headers,
            verify=trusting(self._settings.api),
        )
        # Recorded before a model is loaded: who asks here meanwhile means this service.
        with recorded(plan.url, self._data.path, say):
            async with client:
                work = [node.run(), self._present(supervisor, node, plan.url, client)]
                tasks = [asyncio.create_task(one) for one in work]
                try:
                    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    done.pop().result()
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, supervisor.end(courier), return_exceptions=True)

    async def _present(self, supervisor: Supervisor, node: Node, url: str, client: httpx.AsyncClient) -> None:
        """Show that it answers once it does; from then on what dies is restarted."""
        states = await self._ready(supervisor, node, client)
        keeping = asyncio.create_task(supervisor.keep())
        if "ready" in states.values():
            # An echo shows that the service runs, not that a model answers.
            model = min(self._models.rows, key=lambda m: (states.get(m.id) != "ready", m.engine == "echo"))
            await Sample(self._settings.models_file, model).show(client, url, say)
        say(f"serving on {url}, in a browser too (Ctrl-C stops)")
        await keeping

    def _load_models(self, registry: Registry, store: Store, redis: RedisSettings) -> None:
        """Read which models are served, and drop what the store knows of an earlier start's workers.

        Raises CommandError, also where the store holds what this version does not read.
        """
        try:
            check_rights(redis)
            if self._own_server and "url" not in self._settings.blobs.model_fields_set:
                # Both are the data folder's, whatever became of the records. On a full disk it is put off.
                with contextlib.suppress(Unavailable):
                    Blobs(BlobSettings(url=str(self._data.blobs))).assign(store.run(identity()))
            registry.take(store.run(registrations()))
            for model in registry.removed_rows():
                back = f"`sightline models add FILE --model {model.id}` brings it back"
                say(f"model    {model.id}: not served, as it was removed; {back}")
            for model in self._models.rows:
                forget(store, model.lane, presence=self._own_server)
        except Unavailable as error:
            raise CommandError(Exit.REDIS, f"The service cannot be started. {error.message}") from None

    async def _records(self, supervisor: Supervisor) -> str:
        """The URL of a record server that answers: the given one, else our own."""
        redis = self._settings.redis
        if not self._own_server:
            server = await asyncio.to_thread(
                _own_server, redis.store_url, "The server named by SIGHTLINE_REDIS__URL"
            )
            check_server(server)
            await asyncio.to_thread(_own_server, redis.broker_url, "The broker's database on that server")
            say(f"redis    {server.name} {server.version} (given by SIGHTLINE_REDIS__URL)")
            return redis.url.get_secret_value()
        if redis.acknowledge == "replica":
            message = (
                "SIGHTLINE_REDIS__ACKNOWLEDGE=replica needs a server with one: set SIGHTLINE_REDIS__URL."
            )
            raise CommandError(Exit.USAGE, message)
        binary = find_binary()
        own = own_server(binary, self._data, self._lock_fd, redis.acknowledge)
        child = supervisor.start(own.command)
        limit = await self._answers(supervisor, own.url)
        say(f"redis    {binary}, data in {display_path(self._data.redis)}")
        if limit is not None:
            child.command = own.limited(limit)
            say(
                f"warning  the records take {limit / ROOM / 2**20:.0f} MB and may take {limit / 2**20:.0f}, "
                "more than a quarter of the memory here (docs/runbook.md, SightlineStoreFilling)"
            )
        return own.url

    async def _answers(self, supervisor: Supervisor, url: str) -> int | None:
        """Wait for our own server: reading a long append-only file takes a while.

        Returns the new memory limit in bytes, where the records it has read leave it too little room.
        """
        deadline = time.monotonic() + RECORD_SERVER_S
        while True:
            try:
                await asyncio.to_thread(probe, url)
                return await asyncio.to_thread(make_room, url, ROOM)
            except Unavailable as error:
                supervisor.check()
                if time.monotonic() > deadline and error.message != LOADING:
                    raise CommandError(
                        Exit.REDIS, f"The record server does not answer ({error.message})."
                    ) from None
                await asyncio.sleep(POLL_S)

    async def _ready(
        self, supervisor: Supervisor, node: Node, client: httpx.AsyncClient
    ) -> Mapping[str, str]:
        """Wait until a model is loaded, or none is left that is; returns each model's state."""
        shown = Readiness(ready=False, states={}, refusal="")
        while True:
            supervisor.check()
            if node.failed:
                raise node.failed
            if state := await readiness(client):
                _print_changes(state, shown)
                shown = state
            # Models that are loaded when asked for wait for nobody.
            if shown.ready and ("ready" in shown.states.values() or node.rests):
                return shown.states
            await asyncio.sleep(POLL_S)


def _own_server(url: str, name: str) -> Server:
    try:
        return probe(url)
    except Unavailable as error:
        raise CommandError(Exit.REDIS, f"{name} does not answer ({error.message}).") from None


class Readiness(NamedTuple):
    """What the service says of itself: each model's state, or a sentence on why it takes no jobs."""

    ready: bool
    states: Mapping[str, str]
    refusal: str


def _print_changes(now: Readiness, shown: Readiness) -> None:
    """Print what has changed since `shown`."""
    if now.refusal not in ("", shown.refusal):
        say(f"waiting  {now.refusal}")
    for model, state in now.states.items():
        # Why one cannot be loaded is said where its worker's death is.
        if state not in (shown.states.get(model), "failed"):
            say(f"model    {model}: {state}")


async def readiness(client: httpx.AsyncClient) -> Readiness | None:
    """Whether the service can answer a question, and why not; None where it does not answer yet."""
    with contextlib.suppress(httpx.TransportError, ValueError, AttributeError):
        reply = await client.get("/ready")
        body = reply.json()
        return Readiness(reply.status_code == httpx.codes.OK, body.get("models", {}), body.get("error", ""))
    return None


def check_server(server: Server) -> None:
    """Raise CommandError for a server that cannot hold the queue; warn of one that may lose it."""
    check_kind(server)
    if server.replica:
        message = "SIGHTLINE_REDIS__URL names a replica, which takes no jobs: name the primary server."
        raise CommandError(Exit.REDIS, message)
    if not server.keeps:
        say("warning  the server keeps no append-only file: its restart loses jobs (set appendonly yes)")
    if server.evicts:
        say("warning  the server may evict jobs when memory is full (set maxmemory-policy noeviction)")
