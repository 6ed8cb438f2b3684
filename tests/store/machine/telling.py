"""Which webhook calls are to be made, in plain Python."""

from dataclasses import dataclass

from shared.settings import Settings
from shared.store.constants import CALL_SLACK_S


@dataclass(eq=False)
class Call:
    """Waits until `due`, or is made by the courier with `token` until `expires`."""

    host: str
    due: int
    tries: int = 0
    token: str = ""
    expires: int = 0

    def is_made(self, now: int) -> bool:
        return bool(self.token) and self.expires > now


class Book:
    """All calls, by the job's id and the kind. `now` is the model's."""

    def __init__(self, settings: Settings, now: int) -> None:
        self.now = now
        self.calls: dict[str, Call] = {}
        self.gone = set[str]()
        """Jobs whose receiver wants no more."""
        self.failed: dict[str, dict[str, int]] = {}
        """By caller: jobs whose last try to deliver the end failed, and when."""
        self.most = settings.webhook.host_calls
        self.lease_ms = round((settings.webhook.limit_s + CALL_SLACK_S) * 1000)
        self.listed_ms = max(settings.webhook.life_s, settings.retention.job_s) * 1000

    def forget(self) -> None:
        """What was kept for a time is gone after it."""
        for caller, jobs in list(self.failed.items()):
            if max(jobs.values()) + self.listed_ms <= self.now:
                del self.failed[caller]

    def put(self, name: str, host: str) -> None:
        self.calls[name] = Call(host, self.now)

    def drop(self, job: str) -> None:
        for kind in ("began", "ended"):
            self.calls.pop(f"{job}:{kind}", None)

    def note_failure(self, caller: str, job: str, *, failed: bool) -> None:
        jobs = self.failed.setdefault(caller, {})
        jobs.pop(job, None)
        if failed:
            jobs = {job: at for job, at in jobs.items() if at > self.now - self.listed_ms}
            self.failed[caller] = jobs | {job: self.now}
        elif not jobs:
            del self.failed[caller]

    def making(self, host: str) -> int:
        return sum(call.host == host and call.is_made(self.now) for call in self.calls.values())

    def may_be_made(self) -> list[str]:
        """Those that are due, or whose courier died, at hosts that may have another one."""
        return [
            name
            for name, call in self.calls.items()
            if not call.is_made(self.now)
            and (call.token or call.due <= self.now)
            and self.making(call.host) < self.most
        ]
