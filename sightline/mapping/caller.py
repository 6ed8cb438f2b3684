"""Asks the service for the rows of a map, each to its end, whatever breaks meanwhile."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from itertools import cycle
from typing import Any

import httpx

from sightline.exits import CommandError, Exit

UPLOADS, SMALL = 16, 2**20
"""Rows of more than so many bytes that are in memory at once: they are read, sent and forgotten."""
FIRST_WAIT_S, WAIT_S = 2, 10
"""A small submit's wait for the end, and a poll's: one call for most rows, and soon a reason for others."""
CLIENTS = 16
"""Each has connections of its own: to choose one of hundreds takes a client longer than the call."""
PATIENCE_S = 600.0
"""How long no answer of the service at all may come before the map ends; started again it goes on."""
LONGEST_PAUSE_S = 30.0
FATAL = {401, 402, 403}
"""What the next row would be answered as well. So would a model that is not served."""
FAULTS = 5
"""How often one row may meet the service's own fault."""
MISFITS = 16
"""Jobs that fail by what is the same for all rows, before any succeeds, after which no more are asked."""
RETENTION_CODES = ("result_expired", "job_purged")
"""A row that an earlier command began is no longer kept."""
PASSING_CODES = ("fetch_failed", "model_removed")
"""Jobs that failed so may succeed later, though the same request would not be asked again by the service."""


class Caller:
    """One service, by HTTP. `say` is called with why rows wait, and with "" once they go on."""

    def __init__(
        self, clients: Sequence[httpx.AsyncClient], say: Callable[[str], object] = lambda _: None
    ) -> None:
        self.say = say
        self._clients = cycle(clients)
        self._url = clients[0].base_url
        self._uploads = asyncio.Semaphore(UPLOADS)
        self._heard = time.monotonic()
        self._misfits = 0
        self.answered = False
        """Whether any row ever was, by this command or an earlier one."""
        self._working = time.monotonic()

    async def model(self) -> str:
        """The first that is served. Raises CommandError."""
        reply = await self._first("GET", "/v1/models")
        if not reply["data"]:
            raise CommandError(Exit.REFUSED, "The service serves no model.")
        return str(reply["data"][0]["id"])

    async def estimate(self, body: bytes, rows: int) -> dict[str, Any]:
        """What would become of `rows` like this one. Raises CommandError."""
        headers = {"content-type": "application/json", "x-use-cache": "false"}
        return await self._first("POST", f"/v1/estimate?rows={rows}", content=body, headers=headers)

    async def answer(self, body: Callable[[], bytes], key: str) -> dict[str, Any]:
        """The ended job of a row, or {"error": …} where it was refused.

        Whatever breaks, it is asked again under the same key, which names the same job, also after a restart:
        it is made of `key` and the body. Raises CommandError where no row can be answered, and what `body`
        raises.
        """
        misses = 0
        while True:
            async with self._uploads:
                content = await asyncio.to_thread(body)
                name = sha256(key.encode())
                name.update(content)
                headers = {"content-type": "application/json", "idempotency-key": name.hexdigest()}
                if not (small := len(content) <= SMALL):
                    reply = await self._tried("POST", "/v1/jobs", content=content, headers=headers)
            if small:
                waiting = headers | {"prefer": f"wait={FIRST_WAIT_S}"}
                reply = await self._tried("POST", "/v1/jobs", content=content, headers=waiting)
            del content
            if reply is not None and reply.is_success:
                job = await self._ended(reply.json())
                if job is not None:
                    self.say("")
                    self._check(job)
                    return job
            elif reply is not None and not _passes(reply, misses):
                job = {"error": _refusal(reply)}
                _check_parameters(job)
                return job
            await self._pause(reply, misses)
            misses += 1

    def _check(self, job: dict[str, Any]) -> None:
        """Raises CommandError where many rows do not fit and none was answered: one alone may be odd."""
        self.answered = self.answered or job["status"] == "succeeded"
        self._misfits += _is_misfit(job)
        if not self.answered and self._misfits >= MISFITS:
            _check_parameters(job)

    async def _ended(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """The job at its end; None where its record is lost, so that it is submitted again."""
        misses = 0
        while job["ended_at"] is None:
            if why := _why(job):
                self.say(why)
            reply = await self._tried("GET", f"/v1/jobs/{job['id']}?wait={WAIT_S}")
            if reply is not None and reply.is_success:
                job, misses = reply.json(), 0
            elif reply is not None and not _passes(reply):
                return None
            else:
                await self._pause(reply, misses)
                misses += 1
        return job

    async def _tried(self, method: str, path: str, **call: Any) -> httpx.Response | None:
        """None where no answer came. Raises CommandError where the service stays away or knows us not."""
        try:
            reply = await next(self._clients).request(method, path, **call)
        except httpx.TransportError as error:
            self.say(f"no answer from {self._url}")
            if time.monotonic() - self._heard > PATIENCE_S:
                message = f"No answer from {self._url} for {PATIENCE_S / 60:.0f} minutes"
                why = f"{message} ({error!r}): the same command goes on."
                raise CommandError(Exit.UNREACHABLE, why) from None
            return None
        self._heard = time.monotonic()
        self._check_model(reply)
        if reply.status_code in FATAL or (reply.status_code == 404 and method == "POST"):
            raise CommandError(Exit.REFUSED, _refused(reply))
        return reply

    def _check_model(self, reply: httpx.Response) -> None:
        """Raises CommandError where for long nothing was heard but that the model cannot be loaded."""
        if reply.status_code != 500 or (error := _refusal(reply))["code"] != "model_failed":
            self._working = self._heard
        elif self._heard - self._working > PATIENCE_S:
            raise CommandError(
                Exit.REFUSED, f"{error['message']} Once it is mended, the same command goes on."
            )

    async def _pause(self, reply: httpx.Response | None, misses: int) -> None:
        """As long as the service says, else a little longer each time; not all rows at the same moment."""
        pause = min(0.25 * 2 ** min(misses, 8), LONGEST_PAUSE_S)
        if reply is not None and _passes(reply):
            self.say(f"the service says: {_refusal(reply)['message']}")
            pause = float(reply.headers.get("retry-after", pause))
        await asyncio.sleep(pause * random.uniform(1, 1.3))  # noqa: S311 - no secret

    async def _first(self, method: str, path: str, **call: Any) -> dict[str, Any]:
        """One call that is not repeated. Raises CommandError."""
        try:
            reply = await next(self._clients).request(method, path, **call)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            message = f"No answer from {self._url} ({error or type(error).__name__})"
            raise CommandError(Exit.UNREACHABLE, f"{message}: is it running?") from None
        if not reply.is_success:
            raise CommandError(Exit.REFUSED, _refused(reply))
        try:
            body: dict[str, Any] = reply.json()
        except ValueError:
            message = f"{reply.url} did not answer as this service does."
            raise CommandError(Exit.UNREACHABLE, message) from None
        return body


@asynccontextmanager
async def connected(url: str | None, key: str | None = None) -> AsyncIterator[Sequence[httpx.AsyncClient]]:
    """Clients of the service at `url`, by default as the environment says; no proxy leads to this machine."""
    url = url or os.environ.get("SIGHTLINE_URL", "http://127.0.0.1:8000")
    key = key or os.environ.get("SIGHTLINE_API_KEY")
    local = httpx.URL(url).host in ("localhost", "127.0.0.1", "::1")
    trust = httpx.create_ssl_context()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=url,
                    headers={"authorization": f"Bearer {key}"} if key else {},
                    timeout=httpx.Timeout(10, read=WAIT_S + 30, write=120),
                    verify=trust,
                    transport=httpx.AsyncHTTPTransport(verify=trust) if local else None,
                )
            )
            for _ in range(CLIENTS)
        ]


def _passes(reply: httpx.Response, misses: int = 0) -> bool:
    """Whether a refusal may pass. The service's own fault at one row may not; a worker loads again."""
    if reply.status_code == 500:
        return misses < FAULTS or _refusal(reply)["code"] == "model_failed"
    return reply.is_server_error or reply.status_code == 429


def _why(job: dict[str, Any]) -> str:
    """Say why a job waits, how many are ahead and when it starts; "" if it runs."""
    words = [str(job.get("waiting_reason") or "").replace("_", " ")]
    if "estimate" in job:
        words += [f"{job['ahead']} ahead", f"starts in about {job['estimate']['p50']:.0f} s"]
    return ", ".join(words)


def _is_misfit(job: dict[str, Any]) -> bool:
    """Whether its error lies in what is the same for all rows."""
    return str((job.get("error") or {}).get("param")).startswith("parameters")


def _check_parameters(job: dict[str, Any]) -> None:
    """Raises CommandError."""
    if _is_misfit(job):
        raise CommandError(Exit.REFUSED, f"No row can be asked so: {job['error']['message']}")


def _refusal(reply: httpx.Response) -> dict[str, Any]:
    """The error in problem details, as a job's error has it."""
    try:
        problem = reply.json()
        names = {"code": "code", "message": "detail", "retryable": "retryable"}
        error = {name: problem[other] for name, other in names.items()} | {"param": problem.get("param")}
        # What an earlier command began is no longer kept, so it is asked anew.
        return error | {"retryable": error["retryable"] or error["code"] in RETENTION_CODES}
    except (ValueError, LookupError, TypeError):
        return {"code": f"http_{reply.status_code}", "message": reply.text[:200], "retryable": False}


def _refused(reply: httpx.Response) -> str:
    return f"The service refused ({reply.status_code}): {_refusal(reply)['message']}"
