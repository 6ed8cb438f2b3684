"""How long records live: arguments of every script that may end a job or tell a caller of an end."""

from shared.settings import Settings


def lifetimes(settings: Settings) -> dict[str, int]:
    """Arguments of `Call`s; `_s` are seconds from the end on."""
    kept = settings.retention
    return {
        "result_s": kept.result_s,
        "job_s": kept.job_s,
        "event_s": kept.event_s,
        "max_events": kept.max_events,
    }
