"""A worker driven by the test: it claims from the real store and answers what the test says."""

from dataclasses import dataclass, field, replace
from typing import Any

from shared import ids
from shared.models import Model
from shared.result import Choice, FinishReason, JobError, Piece, Result, Usage
from shared.settings import Settings
from shared.store import claims, jobs, maintenance, workers
from shared.store.admission import Placing, admit
from shared.store.keys import INTAKE
from shared.store.script import ScriptCall, Store
from tests.support.clients import until_async
from tests.support.patience import PATIENCE_S

FINGERPRINT = "0123456789abcdef0123456789abcdef"
FACTS = {"rows": "1", "samples": "0", "service_ms": "200"}


@dataclass
class ScriptedWorker:
    """One worker of `model`."""

    settings: Settings
    store: Store
    model: Model
    name: str = field(default_factory=ids.worker_id)

    def beat(self, state: workers.State = "ready", **facts: str) -> None:
        self.store.run(
            workers.beat(
                self.settings,
                worker=self.name,
                lane=self.model.lane,
                state=state,
                fingerprint=FINGERPRINT if state == "ready" else "",
                facts=FACTS | facts,
            )
        )

    def node_beat(self, **facts: str) -> None:
        """Act as a node that loads the model when it is asked for."""
        lanes = {self.model.lane: facts}
        self.store.run(workers.node_beat(self.settings, node="node_1", lanes=lanes))

    def take(self, fingerprint: str = FINGERPRINT) -> claims.Claim:
        """Claim what waits; there must be something."""
        call = claims.claim(
            self.settings,
            lane=self.model.lane,
            worker=self.name,
            token=ids.token(),
            fingerprint=fingerprint,
        )
        claimed = self.store.run(call)
        assert claimed is not None
        return claimed

    def take_in(self) -> str:
        """Act as a courier: admit the job whose pictures are to be fetched, without fetching any."""
        call = claims.claim(self.settings, lane=INTAKE, worker=self.name, token=ids.token(), fingerprint="")
        claimed = self.store.run(call)
        assert claimed is not None
        placing = Placing(
            job=claimed.id,
            caller=claimed.caller,
            model=self.model.id,
            lane=self.model.lane,
            priority="normal",
            hash="fetched",
            key=f"{claimed.caller}:fetched",
            blobs=(),
            cost=1,
            request=claimed.request,
        )
        return self.store.run(admit(placing, self.settings, token=claimed.token))

    def idle(self) -> bool:
        """Whether nothing waits in the line."""
        return self.queued() == 0

    def queued(self) -> int:
        return self.store.run(jobs.lane(self.settings, self.model.lane)).queued

    async def waiting(self, deadline_s: float = PATIENCE_S) -> None:
        """Until something waits in the line."""

        async def waits() -> bool:
            return not self.idle()

        await until_async(waits, deadline_s)

    async def taken(self) -> claims.Claim:
        """What comes to the line, claimed."""
        await self.waiting()
        return self.take()

    def say(self, claim: claims.Claim, text: str, start: int = 0, *, syntax: str | None = None) -> str:
        return self.store.run(claims.append(claim, Piece(start, text, (7,), syntax=syntax)))

    def succeed(
        self,
        claim: claims.Claim,
        text: str,
        *,
        syntax: str | None = None,
        reason: FinishReason = "stop",
    ) -> str:
        result = Result(
            choices=(Choice(text=text, finish_reason=reason, score=0.5),),
            usage=Usage(prompt_tokens=9, completion_tokens=3),
            fingerprint=FINGERPRINT,
            compute_s=0.25,
            syntax=syntax,
        )
        return self.store.run(claims.settle(self.settings, claim, result, fingerprint=FINGERPRINT))

    def give_back(self, claim: claims.Claim, reason: str, error: JobError | None = None) -> str | None:
        return self.store.run(claims.give_back(self.settings, claim, reason=reason, error=error))

    def let_pass(self, seconds: float) -> None:
        """Act as maintenance that much later: due jobs begin, late ones end."""
        later = self.store.client.time()[0] * 1000 + round(seconds * 1000)
        calls: list[ScriptCall[Any]] = [maintenance.due(), maintenance.expire(self.settings)]
        for call in calls:
            self.store.run(replace(call, arguments={**call.arguments, "now": later}))

    def fail(self, claim: claims.Claim, code: str, message: str, param: str | None = None) -> str:
        error = JobError(code=code, message=message, param=param)
        return self.store.run(claims.settle(self.settings, claim, error, fingerprint=FINGERPRINT))
