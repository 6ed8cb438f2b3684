"""`sightline jobs`: lists, shows, follows, cancels, retries and redelivers jobs."""

import time
from collections.abc import Callable, Iterator, Sequence
from shutil import get_terminal_size
from typing import Annotated, Any

import httpx
from typer import Argument, Option

from shared.job import Priority, Status
from sightline.commands import Json, Limit, Url, Wait, commands
from sightline.exits import CommandError, Exit
from sightline.follow import PATH, Job, Reader, check_paused, follow, path_of, texts
from sightline.progress import PlaceBar
from sightline.service_client import called, client_of, fetched
from sightline.terminal import moment_if_any, note, plain, show, show_facts, show_json, show_table, span

COLUMNS = ("ID", "STATUS", "MODEL", "AGE", "DETAIL", "QUESTION")
TIMES = ("started_at", "ended_at", "finish_by")
EXAMPLES = """\
examples:
  sightline jobs list --status failed --limit 50
  sightline jobs list --metadata order=6735 --created-after 2026-01-31T00:00:00Z
  sightline jobs show job_5f0c4a7d9e8b4c21a3d6f7e8b9c0d1e2
  sightline jobs follow job_5f0c4a7d9e8b4c21a3d6f7e8b9c0d1e2 && echo done
  sightline jobs cancel job_5f0c4a7d9e8b4c21a3d6f7e8b9c0d1e2
  sightline jobs redeliver --since 2026-01-31T00:00:00Z
  sightline jobs list --status failed --json | jq -r '.data[].id' | xargs -n 1 sightline jobs retry

`sightline jobs ACTION --help` explains one action; exit codes are listed by `sightline --help`.
"""
Id = Annotated[str, Argument(help="the job's id")]
app = commands("List, show, cancel, retry, follow and redeliver jobs.", EXAMPLES)


@app.command("list")
def _list(
    status: Annotated[Status | None, Option(help="only jobs of this status")] = None,
    model: Annotated[str | None, Option(help="only jobs of this model")] = None,
    priority: Annotated[Priority | None, Option(help="only jobs of this priority")] = None,
    created_after: Annotated[str | None, Option(help="only jobs created then or later")] = None,
    created_before: Annotated[str | None, Option(help="only jobs created before")] = None,
    metadata: Annotated[list[str] | None, Option(metavar="KEY=VALUE", help="only jobs with it")] = None,
    limit: Limit = 20,
    after: Annotated[str | None, Option(help="the previous page's end, or a job: only older ones")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first.

    Shows id, status, model, age, why a job waits or how it ended, a map's row and the question. A time is in
    Unix seconds or like 2026-01-31T12:00:00Z.
    """
    with client_of(url) as client:
        found = page(
            client,
            limit=limit,
            after=after,
            status=status,
            model=model,
            priority=priority,
            created_after=created_after,
            created_before=created_before,
            metadata=metadata,
            results=None if as_json else "false",
        )
    show(found, as_json, show_page)


@app.command("show")
def _show(job: Id, url: Url = None, as_json: Json = False) -> None:
    """Show one job: its state, attempts and answer."""
    show(called(url, "GET", path_of(job)), as_json, show_card)


@app.command("cancel")
def _cancel(job: Id, url: Url = None, as_json: Json = False) -> None:
    """Cancel a job."""
    show(called(url, "POST", f"{path_of(job)}/cancel"), as_json, _show_state)


@app.command("retry")
def _retry(job: Id, url: Url = None, as_json: Json = False) -> None:
    """Submit an ended job again, as a new job."""
    show(called(url, "POST", f"{path_of(job)}/retry"), as_json, _show_state)


@app.command("redeliver")
def _redeliver(
    job: Annotated[str | None, Argument(help="the job's id")] = None,
    since: Annotated[str | None, Option(help="all whose last delivery failed then or later")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Send the end of a job to its webhook again, or every end that failed to be delivered since a time.

    A time is in Unix seconds or like 2026-01-31T12:00:00Z.
    """
    if (job is None) == (since is None):
        raise CommandError(Exit.USAGE, "name a job, or a time: --since 2026-01-31T12:00:00Z")
    if job is not None:
        show(called(url, "POST", f"{path_of(job)}/webhook/redeliver"), as_json, _show_state)
        return
    sent = called(url, "POST", f"{PATH}/redeliver", body={"since": _unix_s(since or "")})
    show(sent, as_json, lambda _: print(f"deliveries that are made again: {sent['count']}"))


def _unix_s(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@app.command("follow")
def _follow(job: Id, wait: Wait = False, url: Url = None, as_json: Json = False) -> None:
    """Print a job's answer as it is generated.

    Resumes after a lost connection; why it waits goes to standard error. Exits with 0 only if the job
    succeeded, with 9 if it failed or was cancelled, with 8 if the service is unreachable for about a minute.
    Ctrl-C ends the reading, not the job.
    """
    with client_of(url) as client:
        state = fetched(client, "GET", path_of(job))
        if state["status"] == "queued" or (state["ended_at"] is None and "pages" in state):
            check_paused(client, state["model"], wait=wait)
        show_followed(client, job, as_json=as_json)


def page(
    client: httpx.Client, *, limit: int, after: str | None, **filters: str | Sequence[str] | None
) -> Job:
    """The next `limit` jobs, newest first; the service may give fewer at a time. Raises CommandError."""
    jobs: list[Job] = []
    while True:
        params: dict[str, Any] = {"limit": limit - len(jobs), "after": after, **filters}
        part: Job = fetched(client, "GET", PATH, **params)
        jobs += part["data"]
        after = part["next"]
        if after is None or len(jobs) >= limit:
            ends = {"first_id": jobs[0]["id"], "last_id": jobs[-1]["id"]} if jobs else {}
            return part | {"data": jobs} | ends


def show_page(page: dict[str, Any]) -> None:
    """A line for each job, in columns under a heading."""
    show_table(COLUMNS, map(_row, page["data"]))
    if page["next"]:
        note(f"there are more: --after {page['next']}")


def show_card(job: Job) -> None:
    """All that is known of one job, one name and value a line; the answers last."""
    show_facts(_facts(job))
    for text in texts(job) if "result" in job else []:
        print(f"\n{plain(text)}")


def _facts(job: Job) -> Iterator[tuple[str, str | None]]:
    yield "id", job["id"]
    yield "status", f"{job['status']} ({detail(job)})"
    yield from ((name, job[name]) for name in ("model", "priority", "cache"))
    yield "retry of", job.get("retry_of")
    yield from (("metadata", f"{name}={value}") for name, value in job["metadata"].items())
    yield "created", f"{moment_if_any(job['created_at'])}, {span(time.time() - job['created_at'])} ago"
    for name in TIMES:
        yield name.removesuffix("_at").replace("_", " "), moment_if_any(job.get(name))
    yield "estimate", expected(job.get("estimate"))
    yield from (("attempt", _attempt(attempt)) for attempt in job["attempts"])
    yield "error", failure(job["error"]) if "error" in job else None


def detail(job: Job) -> str:
    """Why a job waits, how far it is, or how it ended."""
    match job["status"]:
        case "succeeded" if job["cache"] == "HIT":
            return "from the cache"
        case "succeeded" | "cancelled":
            return f"after {span(job['ended_at'] - job['created_at'])}"
        case "failed":
            return str(job["error"]["code"])
    return _waiting(job) or f"attempt {job['attempts'][-1]['number'] if job['attempts'] else 0}"


def failure(error: dict[str, Any]) -> str:
    """A job's error in one line."""
    named = f" ({error['param']})" if error.get("param") else ""
    return f"{error['code']}: {error['message']}{named}"


def _row(job: Job) -> tuple[str, ...]:
    age = span(time.time() - job["created_at"])
    return job["id"], job["status"], job["model"], age, detail(job), _question(job)


def _question(job: Job) -> str:
    """A map's row and the question, in what a terminal leaves beside the other columns."""
    parts = (job["metadata"].get("row", ""), (job.get("question") or {"text": ""})["text"])
    text, most = " ".join(" ".join(parts).split()), max(get_terminal_size((130, 24)).columns - 90, 20)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _waiting(job: Job) -> str:
    """Why and how long a job waits; empty where it does not."""
    words = [str(job.get("waiting_reason") or "")]
    if "estimate" in job:
        words += [f"{job['ahead']} ahead", f"starts in {span(job['estimate']['p50'])}"]
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


def _show_state(job: Job) -> None:
    print(plain(f"{job['id']} {job['status']} ({detail(job)})"))


def show_followed(client: httpx.Client, job: str, *, as_json: bool) -> None:
    """Print a job's answer as it comes. Raises CommandError where it has none."""
    bar = PlaceBar("waiting")
    if as_json:
        ended = _relay(Reader(client, job), bar.tell)
    else:
        with bar:
            ended = follow(Reader(client, job), bar.emit, bar.tell)
        print()
    _check_success(ended)


def _relay(reader: Reader, tell: Callable[[str], object]) -> Job:
    """Print each event as a line of JSON; returns the ended job."""
    job: Job = {}
    for event in reader.events():
        if isinstance(event, str):
            tell(event)
        else:
            show_json({"id": event.id, "event": event.name, "data": event.data})
            job = event.data.get("job", {})
    return job


def _check_success(job: Job) -> None:
    if job["status"] == "cancelled":
        raise CommandError(Exit.JOB, "The job was cancelled.")
    if job["status"] == "failed":
        raise CommandError(Exit.JOB, f"The job failed: {failure(job['error'])}")
    if failed := job.get("pages", {}).get("failed"):
        raise CommandError(Exit.JOB, f"Of {job['pages']['total']} pages {failed} failed.")
