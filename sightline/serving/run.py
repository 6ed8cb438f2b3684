"""`sightline run`, the whole service on this machine, and `sightline node`, its part that serves models."""

import asyncio
import base64
import contextlib
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from shared import ROOT
from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.models import Model, Models
from shared.models_file import load_models
from shared.registry import Registry
from shared.settings import (
    CLIENT_KEY,
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
from sightline.model_setup.argument import ModelArgument, write_models_file
from sightline.running_services import recorded
from sightline.service_client import bearer
from sightline.serving.devices import Devices
from sightline.serving.folder import OTHERS, DataFolder, display_path
from sightline.serving.fork_server import ForkServer
from sightline.serving.node import Node
from sightline.serving.plan import Plan, fork_server, own_server
from sightline.serving.processes import FEWEST_FILES, allow_files, settings_of_process
from sightline.serving.server import ROOM, check_kind, check_rights, find_binary
from sightline.serving.supervisor import Supervisor
from sightline.tls import check_tls, trusting

POLL_S = 0.2
RECORD_SERVER_S = 60.0
LAST_GRACE_S = 60.0
"""Longer than every child's own grace time: for the watchdog, and until an earlier service has ended."""
QUESTION, PICTURE = "What is in this picture?", ROOT / "examples/sample.png"
"""What a start asks, to show that it all works."""


def say(line: str) -> None:
    """Print a progress line at once, even to a file; continue if that fails."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def run(port: int, data: Path, wanted: ModelArgument) -> Exit:
    """Check what can be checked, then start, ask a first question and serve. Raises CommandError."""
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
    # The memory of an earlier service is free by now.
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
    """Yield the fork server, and close it when all workers have ended. Raises CommandError."""
    server = fork_server(settings, models.rows, data)
    with contextlib.nullcontext() if server is None else contextlib.closing(server):
        yield server


def check_port(port: int) -> None:
    """Raise CommandError if something else listens on the port."""
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
    """Warn if the system lets the processes have too few files open."""
    if (files := allow_files()) < FEWEST_FILES:
        say(
            f"warning  {files} open files are too few if many call at once: processes cannot reach each "
            f"other then (raise the hard limit, ulimit -Hn, to {FEWEST_FILES} or more)"
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


@dataclass
class Runner:
    """One start of the service."""

    settings: Settings
    models: Models
    data: DataFolder
    port: int
    lock_fd: int
    devices: Devices
    copies: int = 1
    fork_server: ForkServer | None = None

    @property
    def has_own_server(self) -> bool:
        return "url" not in self.settings.redis.model_fields_set

    async def serve(self, supervisor: Supervisor) -> None:
        """Start everything and keep it running; never ends by itself. Raises CommandError."""
        url = await self.records(supervisor)
        redis = self.settings.redis.model_copy(update={"url": SecretStr(url)})
        store = connect(redis)
        plan = Plan(self.settings, url, self.data, self.port, self.fork_server)
        registry = Registry(self.models)
        await asyncio.to_thread(self._load_models, registry, store, redis)
        node = Node(supervisor, plan, registry, store, self.devices, say, self.copies)
        supervisor.start(plan.api())
        say(f"api      {plan.url}")
        courier = supervisor.start(plan.courier())
        say("courier  fetches pictures and repairs the queue")
        key = self.settings.api.admin_key
        headers = bearer(None if key is None else key.get_secret_value())
        verify = trusting(self.settings.api)
        client = httpx.AsyncClient(
            base_url=plan.url, timeout=10, trust_env=False, headers=headers, verify=verify
        )
        # Recorded before a model is loaded: commands that run here meanwhile mean this service.
        with recorded(plan.url, self.data.path, say):
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
        """Show that the service answers once it does; from then on processes that die are restarted."""
        await self.until_ready(supervisor, node, client)
        keeping = asyncio.create_task(supervisor.keep())
        if node.resident:
            # An echo shows that the service runs, not that a model answers.
            await ask(client, min(node.resident, key=lambda model: model.engine == "echo"), url)
        say(f"serving on {url}, in a browser too (Ctrl-C stops)")
        await keeping

    def _load_models(self, registry: Registry, store: Store, redis: RedisSettings) -> None:
        """Read which models are served, and drop what the store knows of an earlier start's workers.

        Raises CommandError, also if the store holds records that this version does not read.
        """
        try:
            check_rights(redis)
            if self.has_own_server and "url" not in self.settings.blobs.model_fields_set:
                # Both are the data folder's, whatever became of the records. On a full disk it is put off.
                with contextlib.suppress(Unavailable):
                    Blobs(BlobSettings(url=str(self.data.blobs))).assign(store.run(identity()))
            registry.take(store.run(registrations()))
            for model in registry.removed_rows():
                back = f"`sightline models add FILE --model {model.id}` brings it back"
                say(f"model    {model.id}: not served, as it was removed; {back}")
            for model in self.models.rows:
                forget(store, model.lane, presence=self.has_own_server)
        except Unavailable as error:
            raise CommandError(Exit.REDIS, f"The service cannot be started. {error.message}") from None

    async def records(self, supervisor: Supervisor) -> str:
        """Return the URL of a record server that answers: the given one, else our own."""
        redis = self.settings.redis
        if not self.has_own_server:
            server = await asyncio.to_thread(
                _answering, redis.store_url, "The server named by SIGHTLINE_REDIS__URL"
            )
            check_server(server)
            await asyncio.to_thread(_answering, redis.broker_url, "The broker's database on that server")
            say(f"redis    {server.name} {server.version} (given by SIGHTLINE_REDIS__URL)")
            return redis.url.get_secret_value()
        if redis.acknowledge == "replica":
            words = "SIGHTLINE_REDIS__ACKNOWLEDGE=replica needs a server with one: set SIGHTLINE_REDIS__URL."
            raise CommandError(Exit.USAGE, words)
        binary = find_binary()
        own = own_server(binary, self.data, self.lock_fd, redis.acknowledge)
        child = supervisor.start(own.command)
        limit = await self._new_limit(supervisor, own.url)
        say(f"redis    {binary}, data in {display_path(self.data.redis)}")
        if limit is not None:
            child.command = own.limited(limit)
            say(
                f"warning  the records take {limit / ROOM / 2**20:.0f} MB and may take {limit / 2**20:.0f}, "
                "more than a quarter of the memory here (docs/runbook.md, SightlineStoreFilling)"
            )
        return own.url

    async def _new_limit(self, supervisor: Supervisor, url: str) -> int | None:
        """Wait for our own server: reading a long append-only file takes a while.

        Return the new memory limit in bytes if the records that it has read leave it too little room.
        """
        deadline = time.monotonic() + RECORD_SERVER_S
        while True:
            try:
                await asyncio.to_thread(probe, url)
                return await asyncio.to_thread(make_room, url, ROOM)
            except Unavailable as error:
                supervisor.check()
                if time.monotonic() > deadline and error.message != LOADING:
                    message = f"The record server does not answer ({error.message})."
                    raise CommandError(Exit.REDIS, message) from None
                await asyncio.sleep(POLL_S)

    async def until_ready(self, supervisor: Supervisor, node: Node, client: httpx.AsyncClient) -> None:
        """Wait until the service takes jobs, and a model is loaded or is only loaded when asked for."""
        told = ""
        while True:
            supervisor.check()
            if node.failed:
                raise node.failed
            with contextlib.suppress(httpx.TransportError, ValueError):
                reply = await client.get("/ready")
                if reply.is_success and (node.resident or node.rests):
                    return
                words = "" if reply.is_success else reply.json().get("error", "")
                if words and words != told:
                    say(f"waiting  {words}")
                told = words or told
            await asyncio.sleep(POLL_S)


async def ask(client: httpx.AsyncClient, model: Model, url: str) -> None:
    """Ask about the sample picture, and show the answer, or why there is none, and a command to try."""
    image = base64.b64encode(await asyncio.to_thread(PICTURE.read_bytes)).decode()
    body = {"inputs": {"image": image, "text": QUESTION}}
    try:
        reply = await client.post(f"/models/{model.id}", json=body, timeout=180)
        answer = reply.json()
        shown = str(answer[0]["generated_text"]) if reply.is_success else f"none: {answer['error']}"
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        shown = f"none: {type(error).__name__} {error}"
    say(f"\nquestion  {QUESTION}\npicture   {display_path(PICTURE)}\nanswer    {shown}")
    command = str(Path(sys.executable).with_name("sightline")).removeprefix(f"{Path.cwd()}/")
    # A certificate names the host that callers use, not loopback.
    if not url.startswith("https:"):
        where = f" ({CLIENT_KEY} holds a key there)" if "authorization" in client.headers else ""
        words = shlex.join((command, "ask", QUESTION, display_path(PICTURE), "--url", url))
        say(f"\nTry, in another terminal{where}:\n\n{words}\n")


def _answering(url: str, name: str) -> Server:
    try:
        return probe(url)
    except Unavailable as error:
        raise CommandError(Exit.REDIS, f"{name} does not answer ({error.message}).") from None


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
