"""`sightline batches`: uploads a file, makes and awaits a batch, downloads its files."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Annotated, Any, BinaryIO, Literal

import httpx
from typer import Argument, Option

from sightline.commands import Json, Limit, Url, commands
from sightline.exits import CommandError, Exit, PassingError
from sightline.progress import Bar, tenths
from sightline.service_client import called, check, client_of, fetched, parsed, segment, speaking
from sightline.terminal import moment_if_any, note, show, show_facts, show_json, show_table, span
from sightline.whole_file import replacing

Batch = dict[str, Any]
Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/responses"]
PATH, FILES = "/v1/batches", "/v1/files"
ENDED = ("completed", "failed", "expired", "cancelled")
WINDOW = "24h"
PAUSE_S = 1.0
MOST_MISSES = 60
"""Failed polls in a row, a second apart, after which waiting ends."""
PIECE = 2**16


class _Watched(FileIO):
    """A file that tells how many of its bytes were read."""

    def __init__(self, path: Path, progress: Callable[[int, int], object]) -> None:
        super().__init__(_sought(path), "rb")
        self._progress = progress
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._progress(self.tell(), self._size)
        return data


def _sought(path: Path) -> int:
    """A descriptor of the file; a pipe is copied first, since an upload states its length beforehand."""
    with path.open("rb") as file:
        if file.seekable():
            return os.dup(file.fileno())
        return _copy(path, file)


def _copy(path: Path, pipe: BinaryIO) -> int:
    try:
        with TemporaryFile() as copy:
            copy.writelines(_pieces(path, pipe))
            copy.seek(0)
            return os.dup(copy.fileno())
    except OSError as error:
        message = f"What comes through the pipe cannot be kept in {gettempdir()}: {error.strerror}"
        raise CommandError(Exit.USAGE, f"{message}; TMPDIR names another folder.") from None


def _pieces(path: Path, pipe: BinaryIO) -> Iterator[bytes]:
    try:
        while piece := pipe.read(PIECE):
            yield piece
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> CommandError:
    return CommandError(Exit.USAGE, f"The file {path} cannot be read: {error.strerror}.")


def upload(
    client: httpx.Client, path: Path, progress: Callable[[int, int], object], purpose: str = "batch"
) -> str:
    """The uploaded file's id; `progress` is called with the bytes sent and the size. Raises CommandError."""
    try:
        file = _Watched(path, progress)
    except OSError as error:
        raise _unreadable(path, error) from None
    # A file's name may hold any bytes.
    name = os.fsencode(path.name).decode(errors="replace")
    with file, speaking(client):
        reply = client.post(FILES, data={"purpose": purpose}, files={"file": (name, file)})
    check(reply)
    return str(parsed(reply)["id"])


def create(client: httpx.Client, file: str, endpoint: str, metadata: dict[str, str]) -> Batch:
    """Raises CommandError."""
    body = {"input_file_id": file, "endpoint": endpoint, "completion_window": WINDOW, "metadata": metadata}
    batch: Batch = fetched(client, "POST", PATH, body=body)
    return batch


def path_of(batch: str) -> str:
    return f"{PATH}/{segment(batch)}"


def state(client: httpx.Client, batch: str) -> Batch:
    """Raises CommandError."""
    reply: Batch = fetched(client, "GET", path_of(batch))
    return reply


def wait(client: httpx.Client, batch: str, progress: Callable[[Batch], object]) -> Batch:
    """The batch at its end; `progress` is called at each change. The service may be away for up to a minute.

    Raises CommandError.
    """
    last, misses = state(client, batch), 0
    progress(last)
    while last["status"] not in ENDED:
        time.sleep(PAUSE_S)
        try:
            now, misses = state(client, batch), 0
        except CommandError as error:
            misses += 1
            away = error.code == Exit.UNREACHABLE or isinstance(error, PassingError)
            if not away or misses > MOST_MISSES:
                raise
            continue
        if any(now[name] != last[name] for name in ("status", "request_counts")):
            progress(now)
        last = now
    return last


def download(client: httpx.Client, path: str, into: BinaryIO) -> None:
    """Raises CommandError where the transfer breaks off."""
    with speaking(client), client.stream("GET", path) as reply:
        check(reply)
        size = int(reply.headers.get("content-length", 0)) or None
        # A bar would stand between the lines that a terminal is shown.
        with nullcontext() if into.isatty() else Bar("downloading", of_bytes=True) as bar:
            for piece in reply.iter_bytes(PIECE):
                into.write(piece)
                if bar:
                    bar.show(reply.num_bytes_downloaded, size)


# `sightline batches`: the command's arguments and output.

COLUMNS = ("ID", "STATUS", "DONE", "FAILED", "TOTAL", "AGE", "ENDPOINT")
TIMES = {"created": "created", "in_progress": "begun", **{end: end for end in ENDED}}
EXAMPLES = """\
examples:
  sightline batches create questions.jsonl --metadata night=12
  sightline batches list --limit 5
  sightline batches show batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0
  sightline batches cancel batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0
  sightline batches wait batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0 && echo done
  sightline batches output batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0 --to answers.jsonl
  sightline batches errors batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0 | jq -r .custom_id
  sightline batches results batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0 > so-far.jsonl
  sightline batches output $(sightline batches create questions.jsonl --wait)

docs/batches.md describes the lines of the file; exit codes are listed by `sightline --help`.
"""
Id = Annotated[str, Argument(help="the batch's id")]
To = Annotated[Path | None, Option(parser=Path, help="output file (default: standard output)")]
app = commands("Create, list, await and cancel batches, and download their files.", EXAMPLES)


@app.command("create")
def _create(
    file: Annotated[Path, Argument(parser=Path, help="the requests, a JSON object a line")],
    endpoint: Annotated[Endpoint, Option(help="endpoint of the lines")] = "/v1/chat/completions",
    metadata: Annotated[list[str] | None, Option(metavar="KEY=VALUE", help="stored with the batch")] = None,
    awaited: Annotated[bool, Option("--wait", help="wait for its end")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Upload a file of requests, a JSON object a line, and run them within a day.

    Prints only the batch's id on standard output, and its progress on standard error. --wait waits as `wait`
    does.
    """
    pairs = dict(map(_pair, metadata or ()))
    with client_of(url) as client:
        batch = create(client, uploaded(client, file), endpoint, pairs)
        if not as_json:
            print(batch["id"], flush=True)
        if awaited:
            batch = _awaited(client, batch["id"])
    if as_json:
        show_json(batch)
    if awaited:
        _check_completed(batch)


@app.command("list")
def _list(
    limit: Limit = 20,
    after: Annotated[str | None, Option(help="only batches older than this one")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List batches, newest first."""
    show(called(url, "GET", PATH, limit=limit, after=after), as_json, _show_page)


@app.command("show")
def _show(batch: Id, url: Url = None, as_json: Json = False) -> None:
    """Show one batch: its state, counts and files."""
    show(called(url, "GET", path_of(batch)), as_json, _show_card)


@app.command("wait")
def _wait(batch: Id, url: Url = None, as_json: Json = False) -> None:
    """Wait for a batch's end, with its progress on standard error.

    Exits with 0 if it completed, even if some lines failed, and with 9 if it failed, expired or was
    cancelled. Retries for about a minute if the service is unreachable or too busy. Ctrl-C ends the waiting,
    not the batch.
    """
    with client_of(url) as client:
        ended = _awaited(client, batch)
    if as_json:
        show_json(ended)
    _check_completed(ended)


@app.command("cancel")
def _cancel(batch: Id, url: Url = None, as_json: Json = False) -> None:
    """Cancel a batch; finished lines are kept."""
    show(called(url, "POST", f"{path_of(batch)}/cancel"), as_json, _show_card)


@app.command("output")
def _output(batch: Id, to: To = None, url: Url = None, as_json: Json = False) -> None:  # noqa: ARG001
    """Write an ended batch's answers to standard output, or to a file once they are complete."""
    _fetch(batch, to, url, "output_file_id", "no line succeeded")


@app.command("errors")
def _errors(batch: Id, to: To = None, url: Url = None, as_json: Json = False) -> None:  # noqa: ARG001
    """Write the failed lines, with reasons, to standard output, or to a file once they are complete."""
    _fetch(batch, to, url, "error_file_id", "no line failed")


@app.command("results")
def _results(batch: Id, to: To = None, url: Url = None, as_json: Json = False) -> None:  # noqa: ARG001
    """Write the rows so far, of answers and failures, to standard output or a file, also while it runs."""
    with client_of(url) as client:
        _written(client, f"{path_of(batch)}/results", to)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise CommandError(Exit.USAGE, f"--metadata {text} is not KEY=VALUE.")
    return name, value


def uploaded(client: httpx.Client, file: Path, purpose: str = "batch") -> str:
    with Bar("uploading", of_bytes=True) as bar:
        return upload(client, file, tenths("uploaded") if bar.disable else bar.show, purpose)


def _row(batch: Batch) -> tuple[str, ...]:
    counts = batch["request_counts"]
    numbers = (str(counts[name]) for name in ("completed", "failed", "total"))
    age = span(time.time() - batch["created_at"])
    return batch["id"], batch["status"], *numbers, age, batch["endpoint"]


def _show_page(page: dict[str, Any]) -> None:
    show_table(COLUMNS, map(_row, page["data"]))
    if page["has_more"]:
        note(f"there are more: --after {page['last_id']}")


def _show_card(batch: Batch) -> None:
    show_facts(_facts(batch))


def _facts(batch: Batch) -> Iterator[tuple[str, str | None]]:
    usage, problems = batch["usage"], (batch["errors"] or {}).get("data", [])
    yield "id", batch["id"]
    yield "status", f"{batch['status']} ({_counted(batch)})"
    if estimate := batch["estimate"]:
        yield "ends in", f"{span(estimate['p50'])} to {span(estimate['p90'])}"
    yield "endpoint", batch["endpoint"]
    yield from (("metadata", f"{name}={value}") for name, value in (batch["metadata"] or {}).items())
    yield from ((label, moment_if_any(batch[f"{name}_at"])) for name, label in TIMES.items())
    yield "input", batch["input_file_id"]
    yield "output", batch["output_file_id"]
    yield "errors", batch["error_file_id"]
    yield "tokens", f"{usage['input_tokens']} in, {usage['output_tokens']} out"
    yield from (("failure", _failure(failure)) for failure in batch.get("failures", ()))
    yield from (("problem", _problem(problem)) for problem in problems)


def _problem(problem: dict[str, Any]) -> str:
    return f"{problem['code']}: {problem['message']}"


def _failure(failure: dict[str, Any]) -> str:
    return f"{failure['count']} {_problem(failure)}"


def _awaited(client: httpx.Client, id: str) -> Batch:
    def advance(batch: Batch) -> None:
        counts = batch["request_counts"]
        bar.show(counts["completed"] + counts["failed"], counts["total"] or None, batch["status"])

    with Bar("waiting") as bar:
        ended = wait(client, id, _note_status if bar.disable else advance)
    if not bar.disable:
        _note_status(ended)
    return ended


def _note_status(batch: Batch) -> None:
    for failure in batch.get("failures", ()) if batch["status"] in ENDED else ():
        note(_failure(failure))
    note(f"{batch['status']}: {_counted(batch)}")


def _counted(batch: Batch) -> str:
    counts = batch["request_counts"]
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    return f"{counts['completed']} of {counts['total']} done{failed}"


def _check_completed(batch: Batch) -> None:
    if batch["status"] != "completed":
        problems = (batch["errors"] or {}).get("data", [])
        why = f" {_problem(problems[0])}" if problems else ""
        raise CommandError(Exit.JOB, f"The batch is {batch['status']}.{why}")


def _fetch(id: str, to: Path | None, url: str | None, name: str, none: str) -> None:
    with client_of(url) as client:
        batch = state(client, id)
        if batch["status"] not in ENDED:
            why = "`sightline batches results` has the rows so far, its files are made at its end"
            raise CommandError(Exit.REFUSED, f"The batch is {batch['status']}; {why}.")
        if batch["status"] == "failed":
            # No line of the batch was taken, so the reason is in no file.
            _check_completed(batch)
        if batch[name] is None:
            note(none)
        else:
            _written(client, f"{FILES}/{segment(batch[name])}/content", to)


def _written(client: httpx.Client, path: str, to: Path | None) -> None:
    if to is None:
        download(client, path, sys.stdout.buffer)
    else:
        _saved(client, path, to)


def _saved(client: httpx.Client, source: str, path: Path) -> None:
    """Write to a pipe or device directly; replace a file only once the download is whole."""
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as into:
                download(client, source, into)
        else:
            with replacing(path.resolve()) as part, part.open("xb") as into:
                download(client, source, into)
    except OSError as error:
        raise CommandError(Exit.USAGE, f"{path} cannot be written: {error.strerror}.") from None
