"""What operators do with API keys, and with the secrets of their webhooks."""

import json
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from shared.api_keys import ApiKey
from shared.store import api_keys
from shared.store.api_keys import KEPT_S
from shared.webhooks import MOST_FORMER, DefaultWebhook
from tests.store.machine.base import again, pick
from tests.store.machine.owners import Owners
from tests.support import hooks
from tests.support.store import Records

URL = "https://all.example/"
graces = st.sampled_from((0, 20, 300, 4000))
lives, quotas = st.sampled_from((None, None, 500, 9000)), st.sampled_from((None, None, 1, 3))


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
    hook: Secrets | None = None
    """Those that sign its webhooks."""

    def in_force(self, now: int) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)

    def listed(self, now: int) -> bool:
        ends = [at for at in (self.revoked, self.expires) if at is not None]
        return not ends or now < (self.revoked or ends[0]) + KEPT_S * 1000

    def use(self, now: int) -> tuple[int, int]:
        """How many more requests fit, and in how many seconds the oldest leaves the minute."""
        if self.quota is None:
            return 0, 0
        second = now // 1000
        self.seconds = [at for at in self.seconds if at > second - 60]
        left, oldest = self.quota - len(self.seconds) - 1, min([second, *self.seconds])
        if left >= 0:
            self.seconds.append(second)
        return max(left, -1), oldest + 60 - second


class SecretHolders(Owners):
    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self.keys: dict[str, Key] = {}
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

    def formers(self, id: str, name: str = "formers") -> dict[str, int]:
        found = self.records.client.hget(f"sl9:{id}", name)
        return {former: int(till) for former, till in json.loads(found or "{}").items()}

    @precondition(lambda self: self.keys)
    @rule(at=pick, again=again)
    def revoke_key(self, at: int, again: bool) -> None:
        id, key = self.some(list(self.keys.items()), at)

        def expected() -> bool:
            if key.listed(self.now) and key.revoked is None:
                key.revoked, key.hook = self.now, None
            return key.listed(self.now)

        self.do(lambda: self.records.run(api_keys.revoke(id)) is not None, expected, again=again)

    @precondition(lambda self: self.keys)
    @rule(at=pick, again=again)
    def set_webhook(self, at: int, again: bool) -> None:
        """A secret that it has stays."""
        id, key = self.some(list(self.keys.items()), at)
        secret = self.records.token()

        def expected() -> bool:
            if key.in_force(self.now):
                key.hook = key.hook or Secrets(secret, MOST_FORMER)
            return key.in_force(self.now)

        call = api_keys.set_webhook(id, DefaultWebhook(URL, ("job.succeeded",)), "all.example", secret)
        self.do(lambda: self.records.run(call) is not None, expected, again=again)

    @precondition(lambda self: self.keys)
    @rule(at=pick, grace_s=graces, again=again)
    def rotate_webhook(self, at: int, grace_s: int, again: bool) -> None:
        id, key = self.some(list(self.keys.items()), at)
        secret = self.records.token()

        def expected() -> bool:
            if key.hook is None or not key.in_force(self.now):
                return False
            last = min(self.now + grace_s * 1000, key.expires or 2**60)
            key.hook.rotate(secret, self.now, last, self.formers(id, "hook_formers"))
            return True

        call = api_keys.rotate_webhook(id, secret, grace_s)
        self.do(lambda: self.records.run(call) is not None, expected, again=again)

    @precondition(lambda self: self.keys)
    @rule(at=pick, again=again)
    def delete_webhook(self, at: int, again: bool) -> None:
        id, key = self.some(list(self.keys.items()), at)

        def expected() -> bool:
            key.hook = None
            return key.listed(self.now)

        call = api_keys.delete_webhook(id)
        self.do(lambda: self.records.run(call) is not None, expected, again=again)

    @precondition(lambda self: self.keys)
    @rule(at=pick)
    def call_webhook(self, at: int) -> None:
        """A call is signed by all secrets in force."""
        id, key = self.some(list(self.keys.items()), at)
        hooks.ended(self.records, id)
        due = self.records.next_delivery()
        secrets = key.hook.valid(self.now) if key.hook and key.in_force(self.now) else None
        assert (due and set(due.secrets)) == secrets
        if due:
            self.records.tell(due)
            self.records.purge(due.id)
        self.advance(1)

    @invariant()
    def lists_have_what_there_is(self) -> None:
        listed = self.records.run(api_keys.keys()) or []
        known = [(id, key.revoked) for id, key in self.keys.items() if key.listed(self.now)]
        assert [(key.id, key.revoked_ms) for key in listed] == known[::-1]

    def end_all(self) -> None:
        for id in self.keys:
            self.records.run(api_keys.revoke(id))
