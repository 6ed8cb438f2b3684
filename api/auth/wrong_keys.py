"""Counts wrong API keys by the address they come from: an address that tries many has to wait.

Kept in each process's memory: it is enough that no address can have many looked up. The requests a minute of
a good key are counted in `shared/store/functions/rate_limit.lua` (`RateLimit.count`).
"""

import ipaddress
import time
from collections.abc import Callable
from functools import lru_cache

from shared.errors import Unavailable

BURST = 60
EACH_S = 1.0
"""An address may send one wrong key a second, and BURST at once."""

MOST_ADDRESSES = 10_000
"""Strangers must not fill the memory: beyond this many, all are forgotten."""


class GuessLimit:
    """An address has `BURST` tries, a wrong key costs one, and each second gives one back."""

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
