"""Load: the calls that admission and workers make of the record server, for benchmarks that play both."""

from typing import Any

from shared import ids
from shared.result import Choice, JobError, Result, Usage
from shared.settings import QueueSettings, Settings
from shared.store import claims, workers
from shared.store.admission import Placing
from shared.store.claims import Claim
from shared.store.script import ScriptCall

FINGERPRINT = "0" * 32
UNLIMITED = QueueSettings(max_queued=10_000_000, max_queued_caller=10_000_000)
SETTINGS = Settings(queue=UNLIMITED)


def lane_of(model: str) -> str:
    return f"model.{model.replace('/', '--')}"


def placing(model: str, caller: str, **fields: Any) -> Placing:
    """A job like no other; `fields` are where it is not as usual."""
    job = ids.job_id()
    usual: dict[str, Any] = {"job": job, "hash": job, "key": None, "blobs": ()}
    usual |= {"priority": "normal", "cost": 64, "request": "{}"}
    return Placing(model=model, caller=caller, lane=lane_of(model), **usual | fields)


def beat(
    worker: str, lane: str, *, rows: int = 1, slots: int = 1, settings: Settings = SETTINGS
) -> ScriptCall[Any]:
    facts = {"rows": str(rows), "slots": str(slots)}
    return workers.beat(
        settings, worker=worker, lane=lane, state="ready", fingerprint=FINGERPRINT, facts=facts
    )


def claim(worker: str, lane: str, settings: Settings = SETTINGS) -> ScriptCall[Claim | None]:
    return claims.claim(settings, lane=lane, worker=worker, token=ids.token(), fingerprint=FINGERPRINT)


def settle(
    claim: Claim, answer: Result | JobError, settings: Settings = SETTINGS, **more: Any
) -> ScriptCall[Any]:
    return claims.settle(settings, claim, answer, fingerprint=FINGERPRINT, **more)


def answer(text: str = "", tokens: int = 1, compute_s: float = 1.0) -> Result:
    choice = Choice(text=text, finish_reason="stop")
    usage = Usage(prompt_tokens=20, completion_tokens=tokens)
    return Result(choices=(choice,), usage=usage, fingerprint=FINGERPRINT, compute_s=compute_s)
