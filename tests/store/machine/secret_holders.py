"""What callers do with what has secrets: API keys and endpoints."""

import json
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from shared.api_keys import ApiKey
from shared.store import api_keys, webhook_endpoints
from shared.store.api_keys import KEPT_S
from shared.webhooks import MOST, MOST_FORMER, Endpoint, EndpointUpdate
from tests.store.machine.base import again, pick
from tests.store.machine.owners import SETTINGS, Owners, people
from tests.support.store import Records

HOST = "all.example"
graces = st.sampled_from((0, 20, 300, 4000))
lives, quotas = st.sampled_from((None, None, 500, 9000)), st.sampled_from((None, None, 1, 3))
switches = st.sampled_from((None, True, False))


@dataclass(eq=False)
class Secrets:
    """The newest, and former ones until when each goes on."""

    current: str
    most: int
    formers: dict[str, int] = field(default_factory=dict)

    def valid(self, now: int) -> set[str]:
        return {self.current, *(former for former, till in self.formers.items() if till > now)}

    def rotate(self, secret: str, now: int, last: int, kept: dict[str, int]) -> None:
        """Which of those that end at one time go, where there are too many, is left to the store."""
        if secret == self.current:
            return
        formers = {former: min(till, last) for former, till in self.formers.items() if till > now}
        formers[self.current] = last
        left = [till for former, till in formers.items() if former not in kept]
        assert kept.items() <= formers.items(), f"{kept} go on, not {formers}"
        assert len(kept) == min(len(formers), self.most)
        assert max(left, default=0) <= min(kept.values())
        self.current, self.formers = secret, kept


@dataclass(eq=False)
class Key:
    secrets: Secrets
    expires: int | None
    quota: int | None
    revoked: int | None = None
    seconds: list[int] = field(default_factory=list)
    """Of the requests that were counted."""
    told: list[int] = field(default_factory=list)
    """When those that were refused may come again."""

    def in_force(self, now: int) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)

    def listed(self, now: int) -> bool:
        ends = [at for at in (self.revoked, self.expires) if at is not None]
        return not ends or now < (self.revoked or ends[0]) + KEPT_S * 1000

    def use(self, now: int) -> tuple[int, int]:
        """How many more requests fit, and in how many seconds the oldest leaves the minute.

        A refused one is told the first second at which more leave than were told to come, else the last.
        """
        if self.quota is None:
            return 0, 0
        second = now // 1000
        self.seconds = [at for at in self.seconds if at > second - 60]
        left, oldest = self.quota - len(self.seconds) - 1, min([second, *self.seconds])
        if left >= 0:
            self.seconds.append(second)
            return left, oldest + 60 - second
        self.told = [at for at in self.told if at > second]
        leave = sorted(at + 60 for at in self.seconds)
        free = [at for at in leave if self.told.count(at) < leave.count(at)]
        self.told += free[:1]
        return -1, [*free, leave[-1]][0] - second


@dataclass(eq=False)
class Receiver:
    """An endpoint."""

    caller: str
    secrets: Secrets
    url: str
    disabled: bool = False


class SecretHolders(Owners):
    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self.keys: dict[str, Key] = {}
        self.endpoints: dict[str, Receiver] = {}
        self.digests: list[str] = []
        """All that ever were, in force or not."""

    def digest(self) -> str:
        self.digests.append(self.records.token())
        return self.digests[-1]

    @rule(
        life_s=st.sampled_from((None, None, 500, 9000)),
        quota=st.sampled_from((None, None, 1, 3)),
        again=again,
    )
    def make_key(self, life_s: int | None, quota: int | None, again: bool) -> None:
        digest, id = self.digest(), f"key_{self.records.token()}"
        expires = None if life_s is None else self.now + life_s * 1000
        key = ApiKey(id, "production", "anne", ("submit",), 0, expires_ms=expires, requests_per_minute=quota)

        def expected() -> str:
            self.keys[id] = Key(Secrets(digest, api_keys.MOST_FORMER), expires, quota)
            return id

        self.do(lambda: self.records.run(api_keys.create(key, digest)).id, expected, again=again)

    @precondition(lambda self: self.digests)
    @rule(at=pick, count=st.integers(1, 3))
    def use_key(self, at: int, count: int) -> None:
        """Of any secret that ever was."""
        digest = self.some(self.digests, at)

        def use() -> tuple[str, int, int] | None:
            found = self.records.run(api_keys.use(digest))
            return None if found is None else (found.key.id, found.left, found.reset_s)

        def expected() -> tuple[str, int, int] | None:
            known = [id for id, key in self.keys.items() if digest in key.secrets.valid(self.now)]
            usable = [id for id in known if self.keys[id].in_force(self.now)]
            return (usable[0], *self.keys[usable[0]].use(self.now)) if usable else None

        for _ in range(count):
            self.do(use, expected)

    @precondition(lambda self: self.keys)
    @rule(at=pick, grace_s=graces, again=again)
    def rotate_key(self, at: int, grace_s: int, again: bool) -> None:
        id, key = self.some(list(self.keys.items()), at)
        digest = self.digest()

        def expected() -> bool:
            if not key.in_force(self.now):
                return False
            last = min(self.now + grace_s * 1000, key.expires or 2**60)
            key.secrets.rotate(digest, self.now, last, self.formers(id))
            return True

        call = api_keys.rotate(id, digest, grace_s)
        self.do(lambda: self.records.run(call) is not None, expected, again=again)

    def formers(self, id: str) -> dict[str, int]:
        found = self.records.client.hget(f"sl8:{id}", "formers")
        return {former: int(till) for former, till in json.loads(found or "{}").items()}

    @precondition(lambda self: self.keys)
    @rule(at=pick, again=again)
    def revoke_key(self, at: int, again: bool) -> None:
        id, key = self.some(list(self.keys.items()), at)

        def expected() -> bool:
            if key.listed(self.now) and key.revoked is None:
                key.revoked = self.now
            return key.listed(self.now)

        self.do(lambda: self.records.run(api_keys.revoke(id)) is not None, expected, again=again)

    @precondition(lambda self: len(self.endpoints) < MOST)
    @rule(caller=people, again=again)
    def make_endpoint(self, caller: str, again: bool) -> None:
        new = Endpoint(f"wh_{self.records.token()}", f"https://{HOST}/", ("batch.*",), "", 0)
        secret = self.records.token()

        def expected() -> bool:
            secrets = Secrets(secret, MOST_FORMER)
            self.endpoints.setdefault(new.id, Receiver(caller, secrets, new.url))
            return True

        call = webhook_endpoints.create(caller, new, HOST, secret)
        self.do(lambda: self.records.run(call) is not None, expected, again=again)

    @precondition(lambda self: self.endpoints)
    @rule(
        at=pick, caller=people, enabled=st.sampled_from((None, True, False)), moves=st.booleans(), again=again
    )
    def change_endpoint(self, at: int, caller: str, enabled: bool | None, moves: bool, again: bool) -> None:
        id, one = self.some(list(self.endpoints.items()), at)
        url = f"https://{HOST}/{self.records.token()}" if moves else None

        def expected() -> bool:
            if one.caller == caller:
                one.url = url or one.url
                one.disabled = one.disabled if enabled is None else not enabled
            return one.caller == caller

        call = webhook_endpoints.change(caller, id, EndpointUpdate(url=url, host=HOST, enabled=enabled))
        self.do(lambda: self.records.run(call) is not None, expected, again=again)

    @precondition(lambda self: self.endpoints)
    @rule(at=pick, grace_s=graces, again=again)
    def rotate_endpoint(self, at: int, grace_s: int, again: bool) -> None:
        id, one = self.some(list(self.endpoints.items()), at)
        secret = self.records.token()

        def expected() -> bool:
            one.secrets.rotate(secret, self.now, self.now + grace_s * 1000, self.formers(id))
            return True

        call = webhook_endpoints.rotate(one.caller, id, secret, grace_s)
        self.do(lambda: self.records.run(call) is not None, expected, again=again)

    @precondition(lambda self: self.endpoints)
    @rule(at=pick, caller=people, again=again)
    def delete_endpoint(self, at: int, caller: str, again: bool) -> None:
        id, one = self.some(list(self.endpoints.items()), at)

        def expected() -> bool:
            known = id in self.endpoints and one.caller == caller
            return known and self.endpoints.pop(id) is not None

        call = webhook_endpoints.delete(caller, id)
        self.do(lambda: self.records.run(call) is not None, expected, again=again)

    @precondition(lambda self: self.endpoints)
    @rule(at=pick, gone=st.sampled_from((False, False, True)))
    def call_endpoint(self, at: int, gone: bool) -> None:
        """A test is signed by all secrets in force; who answers that it is gone is called no more."""
        id, one = self.some(list(self.endpoints.items()), at)
        test = f"test_{self.records.token()}"
        word, _ = self.records.run(webhook_endpoints.send_test(SETTINGS, one.caller, id, test, "{}"))
        delivery = self.records.next_delivery()
        assert word == "queued"
        assert delivery
        assert (delivery.url, set(delivery.secrets)) == (one.url, one.secrets.valid(self.now))
        self.records.tell(delivery, 410 if gone else 204, error="gone" if gone else None)
        one.disabled = one.disabled or gone
        self.advance(1)

    @invariant()
    def lists_have_what_there_is(self) -> None:
        listed = self.records.run(api_keys.keys()) or []
        known = [(id, key.revoked) for id, key in self.keys.items() if key.listed(self.now)]
        assert [(key.id, key.revoked_ms) for key in listed] == known[::-1]
        for caller in ("anne", "bob"):
            found = self.records.run(webhook_endpoints.endpoints(caller))
            own = [(id, e.url, e.disabled) for id, e in self.endpoints.items() if e.caller == caller]
            assert [(e.id, e.url, e.disabled is not None) for e in found] == own[::-1]

    def end_all(self) -> None:
        for id in self.keys:
            self.records.run(api_keys.revoke(id))
        for id, one in self.endpoints.items():
            self.records.run(webhook_endpoints.delete(one.caller, id))
