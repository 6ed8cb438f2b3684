"""Webhooks: what is told, by whom, and what a courier that dies leaves to the next."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.store import webhook_deliveries, webhook_endpoints, webhook_events
from shared.store.claims import Claim
from shared.store.keys import HOOK
from shared.store.webhook_deliveries import DueDelivery
from shared.webhooks import Endpoint, EndpointUpdate
from tests.store.machine import telling
from tests.store.machine.base import SETTINGS, STEP_S, Base, again, pick
from tests.store.machine.model import Model
from tests.store.machine.telling import OWN
from tests.store.machine.work import Job

PAUSE_S = 60
MOST = 4
COURIER = "caller-1"
Seen = tuple[str, int, int]
ways = st.sampled_from(("taken", "taken", "fails", "given up", "gone", "the courier dies"))
filters = st.sampled_from((("job.*",), ("job.succeeded",), ("job.failed", "job.cancelled"), ("batch.*",)))


def claimed(model: Model, token: str, got: str | None) -> str | None:
    """What is right, where the call `got` was handed out; whose turn it was is not looked at."""
    open_to = model.book.may_be_made()
    if got is None:
        assert not open_to, f"no call was handed out, though {open_to} are due"
        return None
    assert got in open_to, f"{got} was handed out, though only {open_to} may be"
    call = model.book.calls[got]
    call.token, call.expires = token, model.now + model.lease_ms
    return got


def needed(model: Model, name: str) -> Seen | None:
    book = model.book
    if book.is_void(name):
        return None
    notice = book.notices[name.rpartition(":")[0]]
    return notice.type, notice.at, book.calls[name].tries


def told(model: Model, claim: Claim, how: str) -> str:
    book, name = model.book, name_of(claim)
    call = book.calls.get(name)
    if call is None or call.token != claim.token:
        return "lost"
    if how != "void":
        book.adapt(call, borne=how in ("taken", "gone"))
    if how == "fails":
        book.release(call)
        call.tries, call.due = call.tries + 1, model.now + PAUSE_S * 1000
        return "postponed"
    book.end(name)
    key, _, target = name.rpartition(":")
    book.keep(key)
    if how == "gone":
        _gone(model, key.partition(":")[0], target)
    job = model.jobs.get(key.partition(":")[0])
    if target == OWN and job and job.status and not book.owes(job.id):
        job.kept_from = model.now
    return "settled"


def _gone(model: Model, job: str, target: str) -> None:
    if target == OWN:
        model.book.gone.add(job)
    elif target in model.book.endpoints:
        model.book.endpoints[target].disabled = True


def replay(model: Model, job: Job) -> str:
    if not job.hook:
        return "unhooked"
    if not job.status:
        return "unended"
    key = f"{job.id}:ended"
    notice = model.event(key)
    if notice is None:
        return "expired"
    model.book.notices[key] = notice
    model.book.call_again(key, OWN, job.caller, job.hook, asked=False)
    model.book.gone.discard(job.id)
    return "queued"


class Calls(Base):
    """Couriers that call, and callers who say whom."""

    def take_call(self, *, again: bool = False) -> DueDelivery | None:
        """The next one that is for somebody."""
        while claim := self._claim_call(again=again):
            found = list[DueDelivery | None]()

            def need(claim: Claim = claim, found: list[DueDelivery | None] = found) -> Seen | None:
                found.append(self.records.run(webhook_deliveries.delivery(claim)))
                return _seen(found[-1])

            name = name_of(claim)
            self.do(need, lambda name=name: needed(self.model, name), again=again)  # type: ignore[misc]
            if found[0]:
                return found[0]
            self._end(claim, again=again)
        return None

    def _claim_call(self, *, again: bool) -> Claim | None:
        token, got = self.records.token(), list[Claim | None]()

        def take() -> str | None:
            got.append(self.records.try_claim(lane=HOOK, worker=COURIER, fingerprint="", token=token))
            return name_of(got[-1]) if got[-1] else None

        def expected() -> str | None:
            name = name_of(got[-1]) if got[-1] else None
            return name if len(got) > 1 and name else claimed(self.model, token, name)

        self.do(take, expected, again=again)
        return got[0]

    def _end(self, claim: Claim, *, again: bool) -> None:
        call = webhook_deliveries.end_delivery(SETTINGS, claim)
        self.do(lambda: self.records.run(call), lambda: told(self.model, claim, "void"), again=again)

    def tell(self, delivery: DueDelivery, how: str, *, again: bool = False) -> None:
        status = {"taken": 200, "gone": 410}.get(how, 500)
        said = None if how == "taken" else how
        delay_s = PAUSE_S if how == "fails" else None
        self.do(
            lambda: self.records.tell(delivery, status, error=said, delay_s=delay_s),
            lambda: told(self.model, delivery.claim, how),
            again=again,
        )

    @precondition(lambda self: self.model.book.calls)
    @rule(how=ways, count=st.sampled_from((1, 1, 2, 6)), again=again)
    def call(self, how: str, count: int, again: bool) -> None:
        """Several at once."""
        deliveries = [self.take_call(again=again) for _ in range(count)]
        for delivery in deliveries:
            if delivery and how != "the courier dies":
                self.tell(delivery, how, again=again)

    @precondition(lambda self: self.model.jobs)
    @rule(at=pick, again=again)
    def replay(self, at: int, again: bool) -> None:
        job = self.some(list(self.model.jobs.values()), at)

        def ask() -> str | None:
            reply = self.records.run(webhook_deliveries.replay(SETTINGS, job.caller, job.id))
            return reply and reply[0]

        self.do(ask, lambda: replay(self.model, job), again=again)

    @precondition(lambda self: len(self.model.book.endpoints) < MOST)
    @rule(
        caller=st.sampled_from(("anne", "anne", "bob")),
        host=st.sampled_from(("one.example", "all.example")),
        events=filters,
        again=again,
    )
    def open_endpoint(self, caller: str, host: str, events: tuple[str, ...], again: bool) -> None:
        new = Endpoint(f"wh_{self.records.token()}", f"https://{host}/", events, "", 0)

        def made() -> bool:
            return (
                self.records.run(webhook_endpoints.create(caller, new, host, "a secret of 16 bytes"))
                is not None
            )

        def expected() -> bool:
            self.model.book.endpoints.setdefault(new.id, telling.Endpoint(caller, host, events))
            return True

        self.do(made, expected, again=again)

    @precondition(lambda self: self.model.book.endpoints)
    @rule(at=pick, again=again)
    def turn_off_or_on(self, at: int, again: bool) -> None:
        id, endpoint = self.some(list(self.model.book.endpoints.items()), at)
        enabled = endpoint.disabled
        call = webhook_endpoints.change(endpoint.caller, id, EndpointUpdate(enabled=enabled))

        def expected() -> bool:
            endpoint.disabled = not enabled
            return True

        self.do(lambda: self.records.run(call) is not None, expected, again=again)

    @precondition(lambda self: self.model.book.endpoints)
    @rule(at=pick)
    def close_endpoint(self, at: int) -> None:
        id, endpoint = self.some(list(self.model.book.endpoints.items()), at)
        self.do(
            lambda: self.records.run(webhook_endpoints.delete(endpoint.caller, id)),
            lambda: self.model.book.endpoints.pop(id) and "deleted",
        )

    @precondition(lambda self: self.model.book.endpoints and self.model.book.notices)
    @rule(at=pick, of=pick, again=again)
    def replay_to_endpoint(self, at: int, of: int, again: bool) -> None:
        id, endpoint = self.some(list(self.model.book.endpoints.items()), at)
        key = self.some(list(self.model.book.notices), of)

        def expected() -> str:
            notice = self.model.event(key)
            if notice is None or notice.caller != endpoint.caller:
                return "expired"
            self.model.book.notices[key] = notice
            self.model.book.call_again(key, id, endpoint.caller, endpoint.host, asked=True)
            return "queued"

        call = webhook_endpoints.replay(SETTINGS, endpoint.caller, id, key)
        self.do(lambda: self.records.run(call)[0], expected, again=again)

    @rule(caller=st.sampled_from(("anne", "bob", "cem")))
    def read_events(self, caller: str) -> None:
        """All that are kept, in pages."""
        found, after = list[str](), None
        while True:
            page = self.records.run(webhook_events.page(caller, after=after, types=(), limit=3))
            assert page is not None
            found += [webhook_events.key_of(notice.id) or "" for notice in page.notices]
            if (after := page.next) is None:
                break
        expected = [key for key in self.model.book.listed(caller) if self.model.event(key)]
        assert found == expected, f"{caller} reads {found}, should {expected}"

    def hang_up(self) -> None:
        while self.model.book.endpoints:
            self.close_endpoint(0)
        while self.model.book.calls:
            if delivery := self.take_call():
                self.tell(delivery, "taken")
            else:
                # No longer than what is taken for an outage: leases have grace after one.
                self.advance(8 * STEP_S * 1000)
                self.maintain()

    def maintain(self, *, again: bool = False) -> None:
        """A round of maintenance."""


def name_of(claim: Claim) -> str:
    return claim.id.removeprefix("hook:")


def _seen(delivery: DueDelivery | None) -> Seen | None:
    return (delivery.notice.type, delivery.notice.at_ms, delivery.tries) if delivery else None
