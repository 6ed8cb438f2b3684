"""Webhooks: what is told, by whom, and what a courier that dies leaves to the next."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.store import hooks
from shared.store.hooks import LEASE_SPARE_S, PER_HOST, Errand
from tests.store.machine.base import SETTINGS, Base, again, pick
from tests.store.machine.model import Model
from tests.store.machine.work import Job, Telling

PAUSE_S = 60
LEASE_MS = round((SETTINGS.webhook.limit_s + LEASE_SPARE_S) * 1000)
Seen = tuple[str, str, int, int]
ways = st.sampled_from(("taken", "taken", "fails", "given up", "gone", "the courier dies"))


def free(model: Model, telling: Telling) -> bool:
    return telling.expires <= model.now if telling.token else telling.due <= model.now


def making(model: Model, host: str | None) -> int:
    """Calls of a host that couriers make now."""
    tellings = [t for j in model.jobs.values() if j.hook == host for t in j.telling.values()]
    return sum(1 for t in tellings if t.token and t.expires > model.now)


def deliver(model: Model, token: str, got: str | None) -> Seen | None:
    """What is right, where the call `got` was handed out; which host's turn it was is not looked at."""
    open_to = {
        f"{job.id}:{kind}": telling
        for job in model.jobs.values()
        if making(model, job.hook) < PER_HOST
        for kind, telling in job.telling.items()
        if free(model, telling)
    }
    if got is None:
        assert not open_to, f"no call was handed out, though {list(open_to)} are due"
        return None
    assert got in open_to, f"{got} was handed out, though only {list(open_to)} may be"
    telling = open_to[got]
    telling.token, telling.expires = token, model.now + LEASE_MS
    return got, f"job.{telling.status}", telling.at, telling.tries


def told(model: Model, errand: Errand, how: str) -> str:
    job_id, _, kind = errand.id.partition(":")
    job = model.jobs.get(job_id)
    telling = job.telling.get(kind) if job else None
    if job is None or telling is None or telling.token != errand.token:
        return "lost"
    if how == "gone":
        job.disabled = True
        job.telling.clear()
    elif how == "fails":
        telling.tries, telling.due, telling.token = telling.tries + 1, model.now + PAUSE_S * 1000, ""
    else:
        del job.telling[kind]
    if job.status and not job.telling:
        job.kept_from = model.now
    return "written"


def replay(model: Model, job: Job) -> str:
    if not job.hook:
        return "unhooked"
    if not job.status:
        return "unended"
    telling = job.telling.get("ended")
    if telling is None:
        if job.status == "succeeded" and (job.run is None or job.run.id not in model.runs):
            return "expired"
        job.telling["ended"] = Telling(job.status, job.ended, model.now)
    elif not telling.token:
        telling.tries, telling.due = 0, model.now
    job.disabled = False
    return "queued"


class Calls(Base):
    """Couriers that call."""

    def take_call(self, *, again: bool = False) -> Errand | None:
        token, got = self.records.token(), list[Errand | None]()

        def take() -> Seen | None:
            got.append(self.records.run(hooks.deliver(SETTINGS, token)))
            return _seen(got[-1])

        def expected() -> Seen | None:
            if len(got) > 1:
                return _seen(got[0])
            return deliver(self.model, token, got[0].id if got[0] else None)

        self.do(take, expected, again=again)
        return got[0]

    def tell(self, errand: Errand, how: str, *, again: bool = False) -> None:
        status = {"taken": 200, "gone": 410}.get(how, 500)
        said = None if how == "taken" else how
        delay_s = PAUSE_S if how == "fails" else None
        self.do(
            lambda: self.records.tell(errand, status, error=said, delay_s=delay_s),
            lambda: told(self.model, errand, how),
            again=again,
        )

    @precondition(lambda self: any(job.telling for job in self.model.jobs.values()))
    @rule(how=ways, count=st.sampled_from((1, 1, 2, 6)), again=again)
    def call(self, how: str, count: int, again: bool) -> None:
        """Several at once."""
        errands = [self.take_call(again=again) for _ in range(count)]
        for errand in errands:
            if errand and how != "the courier dies":
                self.tell(errand, how, again=again)

    @precondition(lambda self: self.model.jobs)
    @rule(at=pick, again=again)
    def replay(self, at: int, again: bool) -> None:
        job = self.some(list(self.model.jobs.values()), at)
        if any(t.token and t.expires <= self.model.now + 10 for t in job.telling.values()):
            # Whether it still counts as being made depends on whether somebody looked.
            return

        def ask() -> str | None:
            reply = self.records.run(hooks.replay(SETTINGS, job.caller, job.id))
            return reply and reply[0]

        self.do(ask, lambda: replay(self.model, job), again=again)

    def hang_up(self) -> None:
        while any(job.telling for job in self.model.jobs.values()):
            errand = self.take_call()
            if errand is None:
                self.advance(LEASE_MS + PAUSE_S * 1000)
            else:
                self.tell(errand, "taken")
        # Hosts are forgotten when nothing is found there any more.
        self.advance(LEASE_MS + PAUSE_S * 1000)
        assert self.take_call() is None


def _seen(errand: Errand | None) -> Seen | None:
    return (errand.id, errand.event, errand.at_ms, errand.tries) if errand else None
