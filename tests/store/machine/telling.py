"""Who is to be told of what, in plain Python: notices and their calls, endpoints, and each caller's log."""

from dataclasses import dataclass, field

from shared.settings import Settings

OWN = "own"


@dataclass(eq=False)
class Call:
    """Is made from `due` on, or by the courier with `token` until `expires`."""

    caller: str
    host: str
    due: int
    tries: int = 0
    token: str = ""
    expires: int = 0
    asked: bool = False


@dataclass(eq=False)
class Notice:
    """It goes with its last call."""

    type: str
    caller: str
    at: int


@dataclass(eq=False)
class Endpoint:
    caller: str
    host: str
    events: tuple[str, ...]
    disabled: bool = False

    def wants(self, type: str) -> bool:
        return not self.disabled and (type in self.events or "job.*" in self.events)


@dataclass(eq=False)
class Log:
    """Notices by their places, which rise: one after the other where they are of one moment."""

    entries: list[tuple[int, str]] = field(default_factory=list)
    expires: int = 0

    def last_together(self) -> bool:
        """Whether the last two may be of one step."""
        return len(self.entries) > 1 and self.entries[-1][0] == self.entries[-2][0] + 1


class Book:
    """All of it. `now` is the model's."""

    def __init__(self, settings: Settings, now: int) -> None:
        self.now = now
        self.notices: dict[str, Notice] = {}
        self.calls: dict[str, Call] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.gone = set[str]()
        """Jobs whose own webhook wants no more."""
        self.logs: dict[str, Log] = {}
        self._event_ms = settings.retention.event_s * 1000
        self._most = settings.retention.max_events

    def forget(self) -> None:
        """What was kept for a time is gone after it."""
        self.logs = {caller: log for caller, log in self.logs.items() if log.expires > self.now}

    def targets(self, caller: str, type: str) -> dict[str, str]:
        """Hosts of the endpoints that want to know."""
        return {i: e.host for i, e in self.endpoints.items() if e.caller == caller and e.wants(type)}

    def give(self, key: str, notice: Notice, targets: dict[str, str], *, logged: bool) -> None:
        if not targets and not logged:
            return
        self.notices[key], caller = notice, notice.caller
        for target, host in targets.items():
            self.calls[f"{key}:{target}"] = Call(caller, host, self.now)
        if logged:
            self._write(key, caller)
        self.keep(key)

    def _write(self, key: str, caller: str) -> None:
        log = self.logs.setdefault(caller, Log())
        newest = log.entries[-1][0] if log.entries else 0
        place = max(self.now, newest + 1)
        log.entries.append((place, key))
        if newest // 1000 < place // 1000:
            log.entries = [entry for entry in log.entries if entry[0] > self.now - self._event_ms][
                -self._most :
            ]
        log.expires = self.now + self._event_ms

    def listed(self, caller: str) -> list[str]:
        return [key for _, key in self.logs[caller].entries] if caller in self.logs else []

    def keep(self, key: str) -> None:
        """For as long as a call of it is to be made."""
        if not self.calls_of(key):
            self.notices.pop(key, None)

    def calls_of(self, key: str) -> list[str]:
        return [call for call in self.calls if call.startswith(f"{key}:")]

    def drop(self, key: str) -> None:
        for call in self.calls_of(key):
            del self.calls[call]
        self.notices.pop(key, None)

    def owes(self, job: str) -> bool:
        """Whether a job's own webhook is still to be told something."""
        return job not in self.gone and any(
            f"{job}:{kind}:{OWN}" in self.calls for kind in ("began", "ended")
        )

    def call_again(self, key: str, target: str, caller: str, host: str, *, asked: bool) -> None:
        """From the first try, at once; what a courier has is left alone."""
        call = self.calls.get(f"{key}:{target}")
        if call is None or not call.token:
            call = self.calls[f"{key}:{target}"] = Call(
                caller, host, self.now, asked=call.asked if call else False
            )
            call.asked = call.asked or asked
        self.keep(key)

    def is_void(self, call: str) -> bool:
        """Nobody is there to be told any more: it is forgotten when its turn comes."""
        subject, _, target = call.split(":")
        if target == OWN:
            return subject in self.gone
        endpoint = self.endpoints.get(target)
        return endpoint is None or (endpoint.disabled and not self.calls[call].asked)

    def lose(self, calls: list[str]) -> None:
        """Void calls whose turn has come."""
        for call in calls:
            del self.calls[call]
            self.keep(call.rpartition(":")[0])

    def making(self, caller: str, host: str | None = None) -> int:
        """Calls of a caller, or of one of their hosts, that couriers make now."""
        return sum(
            1
            for call in self.calls.values()
            if call.caller == caller and host in (None, call.host) and call.token and call.expires > self.now
        )

    def is_free(self, call: Call) -> bool:
        return call.expires <= self.now if call.token else call.due <= self.now
