"""`sightline jobs`: the command's arguments and output."""

import argparse
import time
from typing import Any, get_args

import httpx

from shared.job import Priority, Status
from sightline import jobs
from sightline.commands import add_actions, page_size, set_action
from sightline.exits import CommandError, Exit
from sightline.follow import Reader, follow
from sightline.jobs import Job, texts
from sightline.terminal import columns, moment_if_any, named, note, plain, show_json, show_piece, span

# Formats jobs for people at a terminal.

COLUMNS = ("ID", "STATUS", "MODEL", "AGE", "DETAIL")
TIMES = ("started_at", "ended_at", "schedule_at", "start_by", "finish_by")


def table(jobs: list[Job], now: float) -> list[str]:
    """A line for each job, in columns under a heading."""
    return columns([COLUMNS, *(_row(job, now) for job in jobs)])


def card(job: Job, now: float) -> list[str]:
    """All that is known of one job, one name and value a line; the answers last."""
    facts = [
        ("id", job["id"]),
        ("status", f"{job['status']} ({detail(job)})"),
        ("model", job["model"]),
        ("priority", job["priority"]),
        ("cache", job["cache"]),
        ("retry of", job.get("retry_of")),
        *(("metadata", f"{name}={value}") for name, value in job["metadata"].items()),
        ("created", f"{moment_if_any(job['created_at'])}, {span(now - job['created_at'])} ago"),
        *((name.removesuffix("_at").replace("_", " "), moment_if_any(job.get(name))) for name in TIMES),
        ("estimate", expected(job.get("estimate"))),
        *(("attempt", _attempt(attempt)) for attempt in job["attempts"]),
        ("error", failure(job["error"]) if "error" in job else None),
    ]
    lines = named(facts)
    answers = texts(job) if "result" in job else []
    return [*lines, *(line for text in answers for line in ("", plain(text)))]


def detail(job: Job) -> str:
    """Why a job waits, how far it is, or how it ended."""
    match job["status"]:
        case "succeeded" if job["cache"] == "HIT":
            return "from the cache"
        case "succeeded" | "cancelled":
            return f"after {span(job['ended_at'] - job['created_at'])}"
        case "failed":
            return str(job["error"]["code"])
    return _waiting(job) or f"attempt {len(job['attempts'])}"


def failure(error: dict[str, Any]) -> str:
    """A job's error in one line."""
    named = f" ({error['param']})" if error["param"] else ""
    return f"{error['code']}: {error['message']}{named}"


def _row(job: Job, now: float) -> tuple[str, ...]:
    age = span(now - job["created_at"])
    return tuple(plain(cell) for cell in (job["id"], job["status"], job["model"], age, detail(job)))


def _waiting(job: Job) -> str:
    """Why and how long a job waits; empty where it does not."""
    words = [str(job.get("waiting_reason") or "")]
    if "estimate" in job:
        words += [f"{job['ahead']} ahead", f"starts in {span(job['estimate']['p50'])}"]
    elif words == ["scheduled"]:
        words += [f"starts {moment_if_any(job['schedule_at'])}"]
    return ", ".join(words)


def expected(estimate: dict[str, Any] | None) -> str | None:
    """When a job begins and how long it takes."""
    if estimate is None:
        return None
    half, most, service = (span(estimate[name]) for name in ("p50", "p90", "service_s"))
    return f"starts in {half}, nine times in ten in {most}, then takes {service} ({estimate['basis']})"


def _attempt(attempt: dict[str, Any]) -> str:
    head = f"{attempt['number']} by {attempt['worker']} from {moment_if_any(attempt['started_at'])}"
    if attempt["ended_at"] is None:
        return f"{head}: goes on"
    return f"{head}, {span(attempt['ended_at'] - attempt['started_at'])}: {attempt['outcome']}"


STATUSES = get_args(Status)
JOBS = """\
examples:
  sightline jobs list --status failed --limit 50
  sightline jobs list --metadata order=6735 --created-after 2026-01-31T00:00:00Z
  sightline jobs show job_5f0c4a7d9e8b4c21a3d6f7e8b9c0d1e2
  sightline jobs follow job_5f0c4a7d9e8b4c21a3d6f7e8b9c0d1e2 && echo done
  sightline jobs list --status failed --json | jq -r '.data[].id' | xargs -n 1 sightline jobs retry

`sightline jobs ACTION --help` explains one action; exit codes are listed by `sightline --help`.
"""
FOLLOW = """\
Prints the job's text as it is generated, and resumes after a lost connection. Status goes to standard
error. Exits with 0 only if the job succeeded, with 9 if it failed or was cancelled, with 8 if the service is
unreachable for about a minute. Ctrl-C ends the reading, not the job.
"""
RETRY = """\
Submits an ended job's question as a new job, and prints the new job's id and state.
"""


def add_jobs(command: argparse.ArgumentParser) -> None:
    actions = add_actions(command, "Lists, shows, cancels, retries and follows jobs.", JOBS)
    _add_list(actions.add_parser("list", help="list jobs, newest first"))
    for name, act, text, description in (
        ("show", _show, "show one job: its state, attempts and answer", None),
        ("cancel", _cancel, "cancel a job", None),
        ("retry", _retry, "submit an ended job again, as a new job", RETRY),
        ("follow", _follow, "print a job's answer as it is generated", FOLLOW),
    ):
        action = actions.add_parser(name, help=text, description=description or f"{text.capitalize()}.")
        action.add_argument("job", metavar="JOB", help="the job's id")
        set_action(action, act)


def _add_list(action: argparse.ArgumentParser) -> None:
    action.description = (
        "Lists jobs, newest first: id, status, model, age, and why a job waits or how it ended. A TIME is in "
        "Unix seconds or like 2026-01-31T12:00:00Z."
    )
    action.add_argument("--status", choices=STATUSES, help="only jobs of this status")
    action.add_argument("--model", metavar="MODEL", help="only jobs of this model")
    action.add_argument("--priority", choices=get_args(Priority), help="only jobs of this priority")
    action.add_argument("--created-after", metavar="TIME", help="only jobs created then or later")
    action.add_argument("--created-before", metavar="TIME", help="only jobs created before")
    action.add_argument(
        "--metadata",
        action="append",
        metavar="KEY=VALUE",
        help="only jobs with this pair; may be repeated",
    )
    action.add_argument(
        "--limit", type=page_size, default=20, metavar="N", help="how many, 1 to 100 (default: %(default)s)"
    )
    action.add_argument(
        "--after", metavar="PLACE", help="the end of the previous page, or a job: only older ones"
    )
    set_action(action, _list)


def _list(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    page = jobs.page(
        client,
        limit=arguments.limit,
        after=arguments.after,
        status=arguments.status,
        model=arguments.model,
        priority=arguments.priority,
        created_after=arguments.created_after,
        created_before=arguments.created_before,
        metadata=arguments.metadata,
        results=None if arguments.json else "false",
    )
    if arguments.json:
        show_json(page)
        return Exit.OK
    print("\n".join(table(page["data"], time.time())))
    if page["next"]:
        note(f"there are more: --after {page['next']}")
    return Exit.OK


def _show(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    job = jobs.show(client, arguments.job)
    if arguments.json:
        show_json(job)
    else:
        print("\n".join(card(job, time.time())))
    return Exit.OK


def _cancel(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    return _stands(jobs.cancel(client, arguments.job), arguments)


def _retry(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    return _stands(jobs.retry(client, arguments.job), arguments)


def _stands(job: jobs.Job, arguments: argparse.Namespace) -> Exit:
    if arguments.json:
        show_json(job)
    else:
        print(plain(f"{job['id']} {job['status']} ({detail(job)})"))
    return Exit.OK


def _follow(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    reader = Reader(client, arguments.job)
    if arguments.json:
        job = _relay(reader)
    else:
        job = follow(reader, show_piece, note)
        print()
    _check_success(job)
    return Exit.OK


def _relay(reader: Reader) -> jobs.Job:
    """Print each event as a line of JSON; returns the ended job."""
    job: jobs.Job = {}
    for event in reader.events():
        if not isinstance(event, str):
            show_json({"id": event.id, "event": event.name, "data": event.data})
            job = event.data.get("job", {})
    return job


def _check_success(job: jobs.Job) -> None:
    if job["status"] == "cancelled":
        raise CommandError(Exit.JOB, "The job was cancelled.")
    if job["status"] == "failed":
        raise CommandError(Exit.JOB, plain(f"The job failed: {failure(job['error'])}"))
