"""When a job may begin, has to begin and has to end."""

from dataclasses import dataclass

from shared.errors import CallerError

FURTHEST_S = 30 * 86_400
"""How far ahead a job's times may lie."""


@dataclass(frozen=True)
class Times:
    """In Unix ms; None sets no limit."""

    schedule_at: int | None = None
    start_by: int | None = None
    finish_by: int | None = None

    def check(self, now_ms: int) -> None:
        """Raises CallerError `invalid_request` naming the field. A past `schedule_at` means now."""
        for name, value in vars(self).items():
            if value is not None and value > now_ms + FURTHEST_S * 1000:
                raise _wrong(name, f"lies more than {FURTHEST_S // 86_400} days ahead")
        earliest = ("now", now_ms)
        if self.schedule_at is not None and self.schedule_at > now_ms:
            earliest = ("schedule_at", self.schedule_at)
        for name in ("start_by", "finish_by"):
            value = getattr(self, name)
            if value is not None and value <= earliest[1]:
                raise _wrong(name, f"is not later than {earliest[0]}")
        if self.start_by is not None and self.finish_by is not None and self.finish_by < self.start_by:
            raise _wrong("finish_by", "is earlier than start_by")


def _wrong(name: str, what: str) -> CallerError:
    return CallerError("invalid_request", f"{name} {what}.", param=name)
