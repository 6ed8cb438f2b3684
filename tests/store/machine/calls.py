"""Webhooks: what is told, by whom, and what a courier that dies leaves to the next."""

import json

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.store import webhook_deliveries, webhook_endpoints, webhook_events
from shared.store.constants import call_ms
from shared.store.webhook_deliveries import PER_HOST, RESERVED, DueDelivery
from shared.webhooks import Endpoint, EndpointUpdate
from tests.store.machine import telling
from tests.store.machine.base import SETTINGS, Base, again, pick
from tests.store.machine.model import Model
from tests.store.machine.telling import OWN
from tests.store.machine.work import Job

PAUSE_S = 60
LEASE_MS = call_ms(SETTINGS)
ROOM = 16
MOST = 4
Seen = tuple[str, str, int, int]
ways = st.sampled_from(("taken", "taken", "fails", "given up", "gone", "the courier dies"))
filters = st.sampled_from((("job.*",), ("job.succeeded",), ("job.failed", "job.cancelled"), ("batch.*",)))


def deliver(model: Model, token: str, room: int, got: str | None) -> Seen | None:
    """What is right, where the call `got` was handed out; whose turn it was is not looked at."""
    book = model.book
    open_to = [
        name
        for name, call in book.calls.items()
        if book.is_free(call)
        and not book.is_void(name)
        and (room > RESERVED or not book.making(call.caller))
        and book.making(call.caller, call.host) < PER_HOST
    ]
    if got is None:
        assert not open_to, f"no call was handed out, though {open_to} are due"
        return None
    assert got in open_to, f"{got} was handed out, though only {open_to} may be"
    call, notice = book.calls[got], book.notices[got.rpartition(":")[0]]
    call.token, call.expires = token, model.now + LEASE_MS
    return got, notice.type, notice.at, call.tries


def told(model: Model, delivery: DueDelivery, how: str) -> str:
    book = model.book
    call = book.calls.get(delivery.id)
    if call is None or call.token != delivery.lease.split()[3]:
        return "lost"
    if how == "fails":
        call.tries, call.due, call.token = call.tries + 1, model.now + PAUSE_S * 1000, ""
    else:
        del book.calls[delivery.id]
        book.keep(delivery.id.rpartition(":")[0])
    if how == "gone":
        _gone(model, delivery)
    job = model.jobs.get(delivery.notice.subject)
    if _target(delivery) == OWN and job and job.status and not book.owes(job.id):
        job.kept_from = model.now
    return "written"


def _gone(model: Model, delivery: DueDelivery) -> None:
    if _target(delivery) != OWN:
        if _target(delivery) in model.book.endpoints:
            model.book.endpoints[_target(delivery)].disabled = True
        return
    model.book.gone.add(delivery.notice.subject)


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

    def take_call(self, room: int = ROOM, *, again: bool = False) -> DueDelivery | None:
        token, got = self.records.token(), list[DueDelivery | None]()

        def take() -> Seen | None:
            got.append(self.records.next_delivery(room, token))
            return _seen(got[-1])

        def expected() -> Seen | None:
            if len(got) > 1:
                return _seen(got[0])
            self._follow()
            return deliver(self.model, token, room, got[0].id if got[0] else None)

        self.do(take, expected, again=again)
        return got[0]

    def _follow(self) -> None:
        """When calls that nobody waits for are forgotten is left to the store."""
        book = self.model.book
        void = [call for call in book.calls if book.is_void(call)]
        book.lose([call for call in void if not self._stands(call)])

    def _stands(self, call: str) -> bool:
        key, _, target = call.rpartition(":")
        return target in json.loads(self.records.client.hget(f"sl7:{key}", "deliveries") or "{}")

    def tell(self, delivery: DueDelivery, how: str, *, again: bool = False) -> None:
        status = {"taken": 200, "gone": 410}.get(how, 500)
        said = None if how == "taken" else how
        delay_s = PAUSE_S if how == "fails" else None
        self.do(
            lambda: self.records.tell(delivery, status, error=said, delay_s=delay_s),
            lambda: told(self.model, delivery, how),
            again=again,
        )

    @precondition(lambda self: self.model.book.calls)
    @rule(
        how=ways, count=st.sampled_from((1, 1, 2, 6)), room=st.sampled_from((ROOM, ROOM, 1, 2)), again=again
    )
    def call(self, how: str, count: int, room: int, again: bool) -> None:
        """Several at once."""
        deliveries = [self.take_call(room, again=again) for _ in range(count)]
        for delivery in deliveries:
            if delivery and how != "the courier dies":
                self.tell(delivery, how, again=again)

    @precondition(lambda self: self.model.jobs)
    @rule(at=pick, again=again)
    def replay(self, at: int, again: bool) -> None:
        job = self.some(list(self.model.jobs.values()), at)
        if self._unsure(f"{job.id}:ended:{OWN}"):
            return

        def ask() -> str | None:
            reply = self.records.run(webhook_deliveries.replay(SETTINGS, job.caller, job.id))
            return reply and reply[0]

        self.do(ask, lambda: replay(self.model, job), again=again)

    def _unsure(self, name: str) -> bool:
        """Whether a call still counts as being made depends on whether somebody looked."""
        call = self.model.book.calls.get(name)
        return bool(call and call.token and call.expires <= self.model.now + 10)

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
        if self._unsure(f"{key}:{id}"):
            return

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
        assert found == [key for key in self.model.book.listed(caller) if self.model.event(key)]

    def hang_up(self) -> None:
        while self.model.book.endpoints:
            self.close_endpoint(0)
        while self.model.book.calls:
            delivery = self.take_call()
            if delivery is None:
                self.advance(LEASE_MS + PAUSE_S * 1000)
            else:
                self.tell(delivery, "taken")
        # Hosts are forgotten when nothing is found there any more.
        self.advance(LEASE_MS + PAUSE_S * 1000)
        assert self.take_call() is None


def _target(delivery: DueDelivery) -> str:
    return delivery.id.rpartition(":")[2]


def _seen(delivery: DueDelivery | None) -> Seen | None:
    return (delivery.id, delivery.notice.type, delivery.notice.at_ms, delivery.tries) if delivery else None
