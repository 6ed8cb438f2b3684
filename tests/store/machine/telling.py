"""Who is to be told of what, in plain Python: notices and their calls, endpoints, and each caller's log."""

from dataclasses import dataclass, field

from shared.settings import Settings

OWN = "own"
MOST_HOST = 16


@dataclass(eq=False)
class Call:
    """Waits in line, or until `due`, or is made by the courier with `token` until `expires`."""

    caller: str
    host: str
    due: int | None = None
    tries: int = 0
    token: str = ""
    expires: int = 0
    asked: bool = False

    @property
    def waits(self) -> bool:
        return not self.token and self.due is None

    @property
    def flow(self) -> str:
        return f"{self.caller} {self.host}"


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
        self.bears: dict[str, int] = {}
        """How many calls at once hosts of callers get, beyond the first."""
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
            self.put(f"{key}:{target}", Call(caller, host))
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
            self.end(call)
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
            if call:
                self.end(f"{key}:{target}")
            self.put(f"{key}:{target}", Call(caller, host, asked=asked))
        self.keep(key)

    def put(self, name: str, call: Call) -> None:
        """Into line."""
        if not any(other.waits or other.token for other in self.calls.values() if other is not call):
            self.bears.clear()
        call.due, self.calls[name] = None, call

    def end(self, name: str) -> None:
        self.release(self.calls.pop(name))

    def release(self, call: Call) -> None:
        """A courier makes it no longer."""
        was_made, call.token = bool(call.token), ""
        same = [other for other in self.calls.values() if other.flow == call.flow and other is not call]
        if was_made and not any(other.waits or other.token for other in same):
            self.bears.pop(call.flow, None)

    def adapt(self, call: Call, *, borne: bool) -> None:
        most = self.bears.get(call.flow, 1)
        same = [other for other in self.calls.values() if other.flow == call.flow]
        if not borne:
            self.bears[call.flow] = max(most // 2, 1)
        elif most < MOST_HOST and self.making(call.flow) == most and any(other.waits for other in same):
            self.bears[call.flow] = most + 1

    def making(self, flow: str) -> int:
        """Calls to a host of a caller that couriers make now."""
        return sum(1 for call in self.calls.values() if call.flow == flow and call.token)

    def may_be_made(self) -> list[str]:
        return [
            name
            for name, call in self.calls.items()
            if call.waits and self.making(call.flow) < self.bears.get(call.flow, 1)
        ]

    def rescue(self) -> list[str]:
        """The records of calls that are taken from couriers."""
        late = [name for name, call in self.calls.items() if call.token and call.expires <= self.now]
        for name in late:
            self.release(self.calls[name])
            self.put(name, self.calls[name])
        return [f"hook:{name}" for name in late]

    def due(self) -> list[str]:
        """Those that are tried again from now on."""
        due = [name for name, call in self.calls.items() if call.due is not None and call.due <= self.now]
        for name in due:
            self.put(name, self.calls[name])
        return due

    def is_void(self, call: str) -> bool:
        """Nobody is there to be told any more: it is forgotten when its turn comes."""
        subject, _, target = call.split(":")
        if target == OWN:
            return subject in self.gone
        endpoint = self.endpoints.get(target)
        return endpoint is None or (endpoint.disabled and not self.calls[call].asked)
