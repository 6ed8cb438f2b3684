"""`make containers`: images are built and run, their parts killed, frozen and replaced while jobs wait."""

import base64
import json
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import httpx

from tests.containers.engine import Engine, NoEngineError, found
from tests.support.clients import Api, until
from tests.support.service import ROOT

JOBS = 200
START_S, JOBS_S = 120, 600
WORKER_MB = 1350
"""The most that the image of a CPU worker may have."""
MODEL = "sightline/tiny"
IMAGE = "data:image/png;base64," + base64.b64encode((ROOT / "examples/sample.png").read_bytes()).decode()
COUNTS = [1, 2, 3, 4]
COUNT = {"type": "object", "properties": {"count": {"enum": COUNTS}}, "required": ["count"]}


def say(line: str) -> None:
    print(f"--- {line}", flush=True)


class Trial:
    """One engine and a caller of the API that it runs."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.api = Api(f"http://127.0.0.1:{engine.env['COMPOSE_SIGHTLINE_API_PORT']}")
        self._frozen = ""
        self.api.headers["authorization"] = f"Bearer {engine.env['SIGHTLINE_API__ADMIN_KEY']}"

    def build(self) -> None:
        started = time.monotonic()
        self.engine.compose("build")
        say(f"built in {time.monotonic() - started:.0f} s")
        sizes = {name: self.engine.size_mb(f"sightline-{name}") for name in ("api", "courier", "worker")}
        say("images: " + ", ".join(f"{name} {size:.0f} MB" for name, size in sizes.items()))
        assert sizes["worker"] <= WORKER_MB, f"the worker's image has more than {WORKER_MB} MB"

    def up(self) -> None:
        """Until a question is answered that nobody asked before."""
        started = time.monotonic()
        self.engine.compose("up", "-d", "--no-build")
        returned = time.monotonic() - started
        answer = until(self._answer, START_S)
        took = time.monotonic() - started
        say(f"`up` returned after {returned:.1f} s, first computed answer after {took:.1f} s: {answer}")

    def strike(self, what: str, fault: Callable[[], object]) -> None:
        """Jobs wait when the fault comes; all must succeed."""
        ids = [self._submit(number) for number in range(JOBS)]
        waiting = sum(self._job(id)["status"] == "queued" for id in ids)
        started = time.monotonic()
        fault()
        jobs = [until(partial(self._ended, id), JOBS_S) for id in ids]
        lost = [job["id"] for job in jobs if job["status"] != "succeeded"]
        again = sum(len(job["attempts"]) > 1 for job in jobs)
        took = time.monotonic() - started
        say(f"{what}: {waiting} of {JOBS} waited; all ended within {took:.0f} s, {again} in a second attempt")
        assert not lost, f"{what}: {len(lost)} jobs did not succeed: {lost[:5]}"

    def kill(self, service: str) -> None:
        """The engine does not start again what it was told to kill."""
        self.engine.call("kill", *self.engine.containers(service))
        self.engine.compose("up", "-d", "--no-build")

    def crash(self, service: str) -> None:
        """Its processes die, and the engine starts it again."""
        self.engine.call("exec", *self.engine.containers(service), "sh", "-c", "kill -9 -1")

    def replace(self) -> None:
        self.engine.compose("down")
        self.engine.compose("up", "-d", "--no-build")

    def scale(self, count: int) -> None:
        self.engine.compose("up", "-d", "--no-build", "--scale", f"node={count}")

    def freeze(self) -> None:
        """A node that computes: another loads the model and takes its jobs."""
        fleet = self.api.get("/v1/admin/fleet").raise_for_status().json()
        workers = [worker for model in fleet["models"] for worker in model["workers"]]
        # A container's id is its host's name.
        self._frozen = str(next(worker["host"] for worker in workers if worker["state"] == "ready"))
        self.engine.call("pause", self._frozen)

    def thaw(self) -> None:
        self.engine.call("unpause", self._frozen)

    def _answer(self) -> str | Literal[False]:
        """A picture and a held format, which need most of what an image holds."""
        text = f"How many circles are there? {secrets.token_hex(4)}"
        form = {"type": "json_schema", "json_schema": {"name": "count", "schema": COUNT}}
        content = [{"type": "image_url", "image_url": {"url": IMAGE}}, {"type": "text", "text": text}]
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "response_format": form}
        with suppress(httpx.TransportError):
            # Asked once, and not again and again while processes start on the same cores.
            reply = self.api.post("/v1/chat/completions", json=body, headers={"x-wait-for-model": "true"})
            if reply.status_code == httpx.codes.OK:
                answer = str(reply.json()["choices"][0]["message"]["content"])
                assert json.loads(answer)["count"] in COUNTS
                return answer
            assert reply.status_code == httpx.codes.SERVICE_UNAVAILABLE, reply.text
        return False

    def _submit(self, number: int) -> str:
        parameters = {"max_new_tokens": 100, "min_new_tokens": 99, "temperature": 1.0, "seed": number}
        asked = {"prompt": f"What is there? {secrets.token_hex(4)}", "image": IMAGE}
        return self.api.submit(model=MODEL, input=asked, parameters=parameters)

    def _job(self, id: str) -> dict[str, Any]:
        reply = self.api.get(f"/v1/jobs/{id}").raise_for_status()
        return dict(reply.json())

    def _ended(self, id: str) -> dict[str, Any] | Literal[False]:
        """The service may be away for a while."""
        with suppress(httpx.HTTPError):
            job = self._job(id)
            return job if job["status"] not in ("queued", "running") else False
        return False


def play(trial: Trial) -> None:
    trial.build()
    trial.up()
    trial.strike("the node's processes crashed", lambda: trial.crash("node"))
    trial.strike("the node was killed", lambda: trial.kill("node"))
    trial.strike("the record store was killed", lambda: trial.kill("redis"))
    trial.strike("all was taken down and up", trial.replace)
    trial.scale(3)
    trial.strike("one of three nodes was frozen", trial.freeze)
    trial.thaw()


def main() -> int:
    try:
        engine = found()
    except NoEngineError as error:
        say(f"skipped: {error}")
        return 0
    say(f"{engine.program} runs the containers")
    try:
        play(Trial(engine))
    except Exception:
        engine.compose("logs", "--tail", "50")
        raise
    finally:
        engine.compose("down", "--volumes")
    say("no job was lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
