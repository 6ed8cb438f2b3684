"""What operators do: keys made and ended, models added, paused, drained and removed; and who that was."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["done", "unchanged", "not_found"]


@dataclass(frozen=True)
class Operator:
    """Who asks. `key` and `name` are those of the API key, `local` without keys.

    `address` is that of the connection's other end, or the one that a proxy on this machine reports;
    `request` is the id of the call.
    """

    key: str
    name: str
    address: str
    request: str


@dataclass(frozen=True)
class AdminAction:
    """One act, `at_ms` (Unix) by the store's clock: `action` (`key.create`, …) on `subject` by `operator`."""

    id: str
    at_ms: int
    action: str
    subject: str
    outcome: Outcome
    operator: Operator
