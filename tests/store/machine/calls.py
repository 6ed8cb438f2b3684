"""Webhooks: what is sent, by whom, and what a courier that dies leaves to the next."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.store import webhooks
from shared.store.webhooks import DueCall
from tests.store.machine.base import SETTINGS, STEP_S, Base, again, pick
from tests.store.machine.model import Model
from tests.store.machine.work import Job

PAUSE_S = 60
ways = st.sampled_from(("taken", "taken", "fails", "given up", "gone", "cut off", "the courier dies"))
STATUS = {"taken": 200, "gone": 410}


def reported(model: Model, due: DueCall, how: str) -> str:
    book, name = model.book, f"{due.id}:{due.kind}"
    call = book.calls.get(name)
    if call is None or call.token != due.token:
        return "lost"
    call.token = ""
    if how == "cut off":
        call.due = model.now
        return "settled"
    call.tries += 1
    if how == "fails":
        call.due = model.now + PAUSE_S * 1000
    else:
        del book.calls[name]
    if how == "gone":
        book.gone.add(due.id)
    if due.kind == "ended":
        book.note_failure(due.caller, due.id, failed=how != "taken")
    job = model.jobs.get(due.id)
    pending = due.id not in book.gone and any(f"{due.id}:{kind}" in book.calls for kind in ("began", "ended"))
    return "forget" if job and job.unstored and not pending else "settled"


def redelivered(model: Model, job: Job) -> str:
    book, name = model.book, f"{job.id}:ended"
    if not job.hook:
        return "unhooked"
    if not job.status:
        return "unended"
    if job.status == "succeeded" and (job.run is None or job.run.needed <= model.now):
        return "expired"
    if name not in book.calls or not book.calls[name].token:
        book.put(name, job.hook)
    book.gone.discard(job.id)
    book.note_failure(job.caller, job.id, failed=False)
    return "queued"


class Calls(Base):
    """Couriers that call, and callers who ask for it again."""

    def take_call(self) -> DueCall | None:
        token, book = self.records.token(), self.model.book
        got = list[DueCall | None]()

        def take() -> str | None:
            reply = self.records.run(webhooks.claim(SETTINGS, token))
            while reply == "again":
                reply = self.records.run(webhooks.claim(SETTINGS, token))
            got.append(reply)
            return f"{reply.id}:{reply.kind}" if reply else None

        def expected() -> str | None:
            for name in [name for name in book.calls if self._is_dropped(name)]:
                del book.calls[name]
            open_to, due = book.may_be_made(), got[-1]
            if due is None:
                assert not open_to, f"no call was handed out, though {open_to} are due"
                return None
            name = f"{due.id}:{due.kind}"
            assert name in open_to, f"{name} was handed out, though only {open_to} may be"
            call = book.calls[name]
            assert due.tries == call.tries
            call.token, call.expires = token, self.model.now + book.lease_ms
            return name

        self.do(take, expected)
        return got[0]

    def _is_dropped(self, name: str) -> bool:
        """Whether the store dropped a call for nobody; when it comes across one is left to it."""
        job = name.partition(":")[0]
        lines = [f"sl9:{kind}:{self.model.book.calls[name].host}" for kind in ("calls", "calling")]
        void = job in self.model.book.gone or job not in self.model.jobs
        return void and all(self.records.client.zscore(line, name) is None for line in lines)

    def report(self, due: DueCall, how: str, *, again: bool = False) -> None:
        """A repeat, whose first reply was lost, says that the claim is lost."""

        def report() -> str:
            if how == "cut off":
                return self.records.run(webhooks.report(SETTINGS, due, None))
            error, delay_s = (None if how == "taken" else how), (PAUSE_S if how == "fails" else None)
            return self.records.tell(due, STATUS.get(how, 500), error=error, delay_s=delay_s)

        self.do(report, lambda: reported(self.model, due, how), again=again)

    @precondition(lambda self: self.model.book.calls)
    @rule(how=ways, count=st.sampled_from((1, 1, 2, 6)), again=again)
    def call(self, how: str, count: int, again: bool) -> None:
        """Several at once."""
        calls = [self.take_call() for _ in range(count)]
        for due in calls:
            if due and how != "the courier dies":
                self.report(due, how, again=again)

    @precondition(lambda self: self.model.jobs)
    @rule(at=pick, again=again)
    def redeliver(self, at: int, again: bool) -> None:
        job = self.some(list(self.model.jobs.values()), at)

        def ask() -> str | None:
            reply = self.records.run(webhooks.redeliver(SETTINGS, job.caller, job.id))
            return reply and reply[0]

        self.do(ask, lambda: redelivered(self.model, job), again=again)

    @precondition(lambda self: self.model.book.failed)
    @rule(at=pick, ago_s=st.sampled_from((0, STEP_S, 300 * STEP_S, 10**6)))
    def redeliver_failed(self, at: int, ago_s: int) -> None:
        caller, jobs = self.some(list(self.model.book.failed.items()), at)
        since = self.model.now + 1 - ago_s * 1000

        def expected() -> int:
            chosen = [job for job, failed_at in jobs.items() if failed_at >= since]
            words = []
            for id in chosen:
                job = self.model.jobs.get(id)
                words.append(redelivered(self.model, job) if job else "unhooked")
                self.model.book.note_failure(caller, id, failed=False)
            return words.count("queued")

        call = webhooks.redeliver_failed(SETTINGS, caller, since)
        self.do(lambda: self.records.run(call)[0], expected)

    def hang_up(self) -> None:
        while self.model.book.calls:
            if due := self.take_call():
                self.report(due, "taken")
            else:
                # No longer than what is taken for an outage: leases have grace after one.
                self.advance(8 * STEP_S * 1000)
                self.maintain()

    def maintain(self, *, again: bool = False) -> None:
        """A round of maintenance."""
