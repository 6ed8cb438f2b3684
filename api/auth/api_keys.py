"""The API keys: looks up whose a secret is; makes, lists, rotates and revokes keys."""

import hmac
import ipaddress
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from api.auth.callers import log_action
from shared.api_keys import SCOPES, SECRET, ApiKey, Operator, digest_of, new_secret
from shared.errors import CallerError, Unavailable
from shared.settings import ApiSettings
from shared.store import api_keys
from shared.store.api_keys import Use
from shared.store.script import AsyncStore, ScriptCall
from shared.webhooks import DefaultWebhook
from shared.webhooks import new_secret as new_webhook_secret

T = TypeVar("T")
LOCAL = "local"
"""The one caller where no key is configured, and the admin key's caller: so it still sees earlier jobs."""

FRESH_S = 1.0
"""How long a look-up is believed; a revoked key works for so long."""

GOOD_S = 600.0
"""How long a key that was found good is not taken for a guess."""

MOST_KNOWN = 10_000
"""Look-ups remembered; keys that strangers make up must not fill the memory."""

ADMIN = ApiKey(id="key_admin", name="admin", caller=LOCAL, scopes=SCOPES, created_ms=0)


BURST = 60
EACH_S = 1.0
"""An address may send one wrong key a second, and BURST at once."""

MOST_ADDRESSES = 10_000
"""Strangers must not fill the memory: beyond this many, all are forgotten."""


class GuessLimit:
    """An address has `BURST` tries, a wrong key costs one, and each second gives one back.

    Kept in each process's memory: it is enough that no address can have many looked up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # When each address will have all of its tries again.
        self._full_at: dict[str, float] = {}

    def check(self, address: str) -> None:
        """Raises Unavailable `rate_limited` where an address has no try left."""
        over_s = self._full_at.get(_network(address), 0.0) - self._clock() - (BURST - 1) * EACH_S
        if over_s > 0:
            message = "Too many wrong API keys came from your address."
            raise Unavailable("rate_limited", message, retry_after=over_s)

    def wrong(self, address: str) -> None:
        name = _network(address)
        if name not in self._full_at and len(self._full_at) >= MOST_ADDRESSES:
            self._full_at.clear()
        self._full_at[name] = max(self._full_at.get(name, 0.0), self._clock()) + EACH_S


@lru_cache(1024)
def _network(address: str) -> str:
    """The network an address is counted under: one customer of an IPv6 provider has at least a /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return str(mapped if mapped.version == 4 else ipaddress.ip_network((parsed, 64), strict=False))


class ApiKeys:
    def __init__(self, settings: ApiSettings, store: AsyncStore) -> None:
        self._store = store
        self._admin = None if settings.admin_key is None else digest_of(settings.admin_key.get_secret_value())
        self._known: dict[str, tuple[float, Use | None]] = {}
        self._good: dict[str, float] = {}
        self._guesses = GuessLimit()

    @property
    def on(self) -> bool:
        """Whether keys are asked for at all."""
        return self._admin is not None

    async def use(self, secret: str, address: str, *, reads: bool = False) -> Use:
        """Look up the key of a request with this secret, and count the request unless it only `reads`.

        A key with a quota is counted in the store each time; others are looked up once in FRESH_S. A caller
        who shares an address with somebody guessing is still served with a key that was good lately, or with
        the admin key, which costs no look-up.

        Raises CallerError `invalid_api_key`, Unavailable (also for too many wrong keys from there).
        """
        digest = digest_of(secret)
        if self._admin is not None and hmac.compare_digest(digest, self._admin):
            return Use(ADMIN)
        if time.monotonic() - self._good.get(digest, -GOOD_S) >= GOOD_S:
            self._guesses.check(address)
        key = await self._cached_key(digest, reads=reads) if SECRET.fullmatch(secret) else None
        if key is None:
            self._guesses.wrong(address)
            raise CallerError("invalid_api_key", "This API key is wrong, revoked or expired.")
        self._good[digest] = time.monotonic()
        return key

    async def _cached_key(self, digest: str, *, reads: bool) -> Use | None:
        at, key = self._known.get(digest, (-FRESH_S, None))
        if time.monotonic() - at < FRESH_S:
            return key
        key = await self._store.run(api_keys.use(digest, reads=reads))
        if key is None or key.key.requests_per_minute is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[digest] = (time.monotonic(), key)
        return key

    async def create(self, operator: Operator, key: ApiKey) -> tuple[ApiKey, str]:
        """The key and its secret, which is never shown again. Raises CallerError `keys_off`."""
        self._check_on()
        secret = new_secret()
        created = await self._store.run(api_keys.create(key, digest_of(secret)))
        log_action(operator, "key.create", key.id)
        return created, secret

    async def rotate(self, operator: Operator, id: str, grace_s: int) -> tuple[ApiKey, str]:
        """The key with its new secret. Raises CallerError `key_not_found`, `keys_off`."""
        secret = new_secret()
        call = api_keys.rotate(id, digest_of(secret), grace_s)
        return await self._change(operator, "key.rotate", id, call), secret

    async def set_webhook(
        self, operator: Operator, id: str, to: DefaultWebhook, host: str
    ) -> tuple[ApiKey, str | None]:
        """The key, and the secret of its webhooks if that is new.

        Raises CallerError `key_not_found`, `keys_off`.
        """
        secret = new_webhook_secret()
        call = api_keys.set_webhook(id, to, host, secret)
        key, is_new = await self._change(operator, "key.webhook", id, call)
        return key, secret if is_new else None

    async def rotate_webhook(self, operator: Operator, id: str, grace_s: int) -> tuple[ApiKey, str]:
        """The key, and the new secret of its webhooks. Raises CallerError `key_not_found`, `keys_off`."""
        secret = new_webhook_secret()
        call = api_keys.rotate_webhook(id, secret, grace_s)
        return await self._change(operator, "key.webhook.rotate", id, call), secret

    async def delete_webhook(self, operator: Operator, id: str) -> ApiKey:
        """Raises CallerError `key_not_found`, `keys_off`."""
        return await self._change(operator, "key.webhook.delete", id, api_keys.delete_webhook(id))

    async def revoke(self, operator: Operator, id: str) -> ApiKey:
        """Raises CallerError `key_not_found`, `keys_off`."""
        return await self._change(operator, "key.revoke", id, api_keys.revoke(id))

    async def _change(self, operator: Operator, action: str, id: str, call: ScriptCall[T | None]) -> T:
        """Change a key. Raises CallerError `key_not_found`, `keys_off`."""
        self._check_on()
        reply = await self._store.run(call)
        log_action(operator, action, id, found=reply is not None)
        if reply is None:
            raise CallerError("key_not_found", "There is no such key in force.")
        return reply

    async def list(self) -> list[ApiKey]:
        """Newest first. Raises CallerError `keys_off`."""
        self._check_on()
        keys: list[ApiKey] = []
        while page := await self._store.run(api_keys.keys(keys[-1].id if keys else None)):
            keys += page
        return keys

    def _check_on(self) -> None:
        """Without keys anybody could make one, to use once keys are on. Raises CallerError `keys_off`."""
        if not self.on:
            message = "API keys are off: set SIGHTLINE_API__ADMIN_KEY and start the API again."
            raise CallerError("keys_off", message)
