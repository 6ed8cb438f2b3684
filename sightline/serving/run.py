"""`sightline run`: the whole service on this machine, in the foreground, until Ctrl-C."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
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
from shared.store.script import Store, connect
from shared.store.server import LOADING, Server, make_room, probe
from shared.store.workers import forget
from shared.telemetry.traces import check_traces
from sightline.exits import CommandError, Exit
from sightline.serving.folder import OTHERS, DataFolder, DataFolderWatch, display_path
from sightline.serving.memory import check_memory
from sightline.serving.model_argument import ModelArgument, write_models_file
from sightline.serving.open_files import FEWEST, allow_files
from sightline.serving.plan import Plan, own_server
from sightline.serving.running_services import recorded
from sightline.serving.sample import Sample
from sightline.serving.server import ROOM, check_kind, check_rights, find_binary
from sightline.serving.service import bearer
from sightline.serving.supervisor import Supervisor
from sightline.serving.workers import Workers
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
    environments = wanted.environments(models.rows)
    if wanted.model is None:
        check_memory(models.rows * len(environments))
    check_files()
    # For all files of this process and of those that it starts.
    os.umask(OTHERS)
    folder = DataFolder(data)
    lock_fd = folder.lock(LAST_GRACE_S)
    if wanted.model is not None:
        settings = settings.model_copy(update={"models_file": folder.models_file})
        write_models_file(wanted, len(environments), models.rows, folder.models_file, say)
        models = load_models(folder.models_file)
        check_memory(models.rows * len(environments))
    which = " (shipped: there is no models.toml here)" if settings.models_file == SHIPPED_MODELS else ""
    say(f"models   {display_path(settings.models_file)}{which}")
    asyncio.run(until_stopped(Runner(settings, models, folder, port, lock_fd, environments), folder))
    return Exit.OK


def check_port(port: int) -> None:
    """Raise CommandError where something else listens on the port."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError as error:
        raise CommandError(
            Exit.PORT,
            f"Port {port} cannot be used: {os.strerror(error.errno or 0)}; choose another "
            "(make run PORT=8080, sightline run --port 8080).",
        ) from None


def check_files() -> None:
    """Warn where the system lets the processes have too few files open."""
    if (files := allow_files()) < FEWEST:
        say(
            f"warning  {files} open files are too few where many call at once: processes cannot reach each "
            f"other then (raise the hard limit, ulimit -Hn, to {FEWEST} or more)"
        )


async def until_stopped(runner: "Runner", data: DataFolder) -> None:
    """Serve until SIGINT, SIGTERM or, unless under nohup, SIGHUP; these do not interrupt the stopping."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Supervisor(say, LAST_GRACE_S) as supervisor:
        lookout = DataFolderWatch(data)
        work = asyncio.create_task(runner.serve(supervisor))
        stop = asyncio.create_task(stopped.wait())
        lost = asyncio.create_task(lookout.until_lost())
        done, pending = await asyncio.wait((work, stop, lost), return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*done, *pending, return_exceptions=True)
        if lost in done or not await lookout.holds():
            raise _lost_folder(data)
        if stop in done:
            say("stopping (the data is kept)")
        else:
            work.result()


def _lost_folder(data: DataFolder) -> CommandError:
    """The error with which the service ends when its data folder is lost, whatever else fails with it.

    Nothing else would show it: processes go on writing to files that have no name any more, and accepted jobs
    are lost with the last process. A second service could also be started on the same path.
    """
    say("stopping (the data folder is gone)")
    return CommandError(
        Exit.DATA,
        f"The data folder {data.path} was deleted, moved or unmounted while the service ran: put it back "
        "before the next start; what the service kept is in it, or lost with it.",
    )


class Runner:
    """One start of the service."""

    def __init__(
        self,
        settings: Settings,
        models: Models,
        data: DataFolder,
        port: int,
        lock_fd: int,
        environments: Sequence[Mapping[str, str]] = ({},),
    ) -> None:
        self._settings = settings
        self._models = models
        self._data = data
        self._port = port
        self._lock_fd = lock_fd
        self._environments = environments
        self._own_server = "url" not in settings.redis.model_fields_set

    async def serve(self, supervisor: Supervisor) -> None:
        """Start everything and keep it running; never ends by itself. Raises CommandError."""
        url = await self._records(supervisor)
        redis = self._settings.redis.model_copy(update={"url": SecretStr(url)})
        store = connect(redis)
        plan = Plan(self._settings, self._data, self._port, url, self._environments)
        workers = Workers(supervisor, plan, Registry(self._models), store, say)
        await asyncio.to_thread(self._load_models, workers, store, redis)
        own = workers.start()
        await asyncio.to_thread(_announce, workers)
        supervisor.start(plan.api())
        say(f"api      {plan.url}")
        supervisor.start(plan.courier())
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
                states = await self._ready(supervisor, workers, client) if own else {}
                running = asyncio.gather(supervisor.keep(), workers.follow())
                try:
                    if "ready" in states.values():
                        # An echo shows that the service runs, not that a model answers.
                        model = min(own, key=lambda m: (states.get(m.id) != "ready", m.engine == "echo"))
                        await Sample(self._settings.models_file, model).show(client, plan.url, say)
                    say(f"serving on {plan.url}, in a browser too (Ctrl-C stops)")
                    await running
                finally:
                    running.cancel()

    def _load_models(self, workers: Workers, store: Store, redis: RedisSettings) -> None:
        """Read which models are served, and drop what the store knows of an earlier start's workers.

        Raises CommandError, also where the store holds what this version does not read.
        """
        try:
            check_rights(redis)
            if self._own_server and "url" not in self._settings.blobs.model_fields_set:
                # Both are the data folder's, whatever became of the records. On a full disk it is put off.
                with contextlib.suppress(Unavailable):
                    Blobs(BlobSettings(url=str(self._data.blobs))).assign(store.run(identity()))
            workers.refresh()
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
        self, supervisor: Supervisor, workers: Workers, client: httpx.AsyncClient
    ) -> Mapping[str, str]:
        """Wait until a model is loaded, or none of the models file is left; returns each model's state."""
        shown = Readiness(ready=False, states={}, refusal="")
        while True:
            supervisor.check(spared=workers.failed())
            await asyncio.to_thread(_announce, workers)
            if state := await readiness(client):
                _print_changes(state, shown)
                shown = state
            if shown.ready or (shown.states and workers.all_failed):
                return shown.states
            await asyncio.sleep(POLL_S)


def _announce(workers: Workers) -> None:
    with contextlib.suppress(Unavailable):
        workers.announce()


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
