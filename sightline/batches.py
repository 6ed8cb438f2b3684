"""The HTTP calls of `sightline batches`: upload a file, make and watch a batch, download its files."""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any, BinaryIO

import httpx

from sightline.commands import add_actions, page_size, set_action
from sightline.exits import CommandError, Exit, PassingError
from sightline.serving.service import check, fetched, parsed, segment, speaking
from sightline.terminal import columns, moment_if_any, named, note, plain, show_json, span

Batch = dict[str, Any]
PATH, FILES = "/v1/batches", "/v1/files"
ENDED = ("completed", "failed", "expired", "cancelled")
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
WINDOW = "24h"
PAUSE_S = 1.0
MOST_MISSES = 60
"""Failed polls in a row, a second apart, after which waiting ends."""
PIECE = 2**16


class _Watched(FileIO):
    """A file that tells how many of its bytes were read."""

    def __init__(self, path: Path, progress: Callable[[int, int], object]) -> None:
        super().__init__(_sought(path), "rb")
        self._note_status = progress
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._note_status(self.tell(), self._size)
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


def upload(client: httpx.Client, path: Path, progress: Callable[[int, int], object]) -> str:
    """The uploaded file's id; `progress` is called with the bytes sent and the size. Raises CommandError."""
    try:
        file = _Watched(path, progress)
    except OSError as error:
        raise _unreadable(path, error) from None
    # A file's name may hold any bytes.
    name = os.fsencode(path.name).decode(errors="replace")
    with file, speaking(client):
        reply = client.post(FILES, data={"purpose": "batch"}, files={"file": (name, file)})
    check(reply)
    return str(parsed(reply)["id"])


def create(client: httpx.Client, file: str, endpoint: str, metadata: dict[str, str]) -> Batch:
    """Raises CommandError."""
    body = {"input_file_id": file, "endpoint": endpoint, "completion_window": WINDOW, "metadata": metadata}
    batch: Batch = fetched(client, "POST", PATH, body=body)
    return batch


def page(client: httpx.Client, *, limit: int, after: str | None) -> Batch:
    """A page of batches, newest first. Raises CommandError."""
    batches: Batch = fetched(client, "GET", PATH, limit=limit, after=after)
    return batches


def show(client: httpx.Client, batch: str) -> Batch:
    """Raises CommandError."""
    reply: Batch = fetched(client, "GET", f"{PATH}/{segment(batch)}")
    return reply


def cancel(client: httpx.Client, batch: str) -> Batch:
    """The batch after cancelling; a batch that has ended stays as it is. Raises CommandError."""
    reply: Batch = fetched(client, "POST", f"{PATH}/{segment(batch)}/cancel")
    return reply


def wait(client: httpx.Client, batch: str, progress: Callable[[Batch], object]) -> Batch:
    """The batch at its end; `progress` is called at each change. The service may be away for up to a minute.

    Raises CommandError.
    """
    state, misses = show(client, batch), 0
    progress(state)
    while state["status"] not in ENDED:
        time.sleep(PAUSE_S)
        try:
            now, misses = show(client, batch), 0
        except CommandError as error:
            misses += 1
            away = error.code == Exit.UNREACHABLE or isinstance(error, PassingError)
            if not away or misses > MOST_MISSES:
                raise
            continue
        if any(now[name] != state[name] for name in ("status", "request_counts")):
            progress(now)
        state = now
    return state


def download(client: httpx.Client, file: str, into: BinaryIO) -> None:
    """Raises CommandError where the transfer breaks off."""
    with speaking(client), client.stream("GET", f"{FILES}/{segment(file)}/content") as reply:
        check(reply)
        for piece in reply.iter_bytes(PIECE):
            into.write(piece)


# `sightline batches`: the command's arguments and output.

COLUMNS = ("ID", "STATUS", "DONE", "FAILED", "TOTAL", "AGE", "ENDPOINT")
TIMES = {
    "created_at": "created",
    "in_progress_at": "begun",
    "completed_at": "completed",
    "failed_at": "failed",
    "expired_at": "expired",
    "cancelled_at": "cancelled",
}
EXAMPLES = """\
examples:
  sightline batches create questions.jsonl --metadata night=12
  sightline batches wait batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0 && echo done
  sightline batches output batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0 --to answers.jsonl
  sightline batches errors batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0 | jq -r .custom_id
  sightline batches output $(sightline batches create questions.jsonl --wait)

docs/batches.md describes the lines of the file; exit codes are listed by `sightline --help`.
"""
CREATE = """\
Uploads a file of requests, a JSON object a line, and runs them within a day. Prints only the batch's id
on standard output, and its progress on standard error. --wait waits as `wait` does.
"""
WAIT = """\
Waits for a batch's end, with its progress on standard error. Exits with 0 if it completed, even if
some lines failed, and with 9 if it failed, expired or was cancelled. Retries for about a minute if the
service is unreachable or too busy. Ctrl-C ends the waiting, not the batch.
"""
OUTPUT = "Writes an ended batch's answers to standard output, or to a file once they are complete."
ERRORS = "Writes the failed lines, with reasons, to standard output, or to a file once they are complete."


def add_batches(command: argparse.ArgumentParser) -> None:
    actions = add_actions(
        command, "Creates, lists, awaits and cancels batches, and downloads their files.", EXAMPLES
    )
    _add_create(actions.add_parser("create", help="upload a file of requests and run them"))
    listing = actions.add_parser("list", help="list batches, newest first")
    listing.add_argument(
        "--limit", type=page_size, default=20, metavar="N", help="how many, 1 to 100 (default: %(default)s)"
    )
    listing.add_argument("--after", metavar="BATCH", help="only batches older than this one")
    set_action(listing, _list)
    for name, act, text, description in (
        ("show", _show, "show one batch: its state, counts and files", None),
        ("wait", _wait, "wait for a batch's end", WAIT),
        ("cancel", _cancel, "cancel a batch; finished lines are kept", None),
        ("output", _output, "download a batch's answers", OUTPUT),
        ("errors", _errors, "download the failed lines, with reasons", ERRORS),
    ):
        action = actions.add_parser(name, help=text, description=description or f"{text.capitalize()}.")
        action.add_argument("batch", metavar="BATCH", help="the batch's id")
        if act in (_output, _errors):
            action.add_argument(
                "--to", type=Path, metavar="FILE", help="output file (default: standard output)"
            )
        set_action(action, act)


def _add_create(action: argparse.ArgumentParser) -> None:
    action.description = CREATE
    action.add_argument("file", type=Path, metavar="FILE", help="the requests, a JSON object a line")
    action.add_argument(
        "--endpoint",
        choices=ENDPOINTS,
        default=ENDPOINTS[0],
        help="endpoint of the lines (default: %(default)s)",
    )
    action.add_argument(
        "--metadata",
        action="append",
        type=_pair,
        default=[],
        metavar="KEY=VALUE",
        help="stored with the batch",
    )
    action.add_argument("--wait", action="store_true", help="wait for its end")
    set_action(action, _create)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return name, value


def _create(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    file = upload(client, arguments.file, _tenths())
    batch = create(client, file, arguments.endpoint, dict(arguments.metadata))
    if not arguments.json:
        print(batch["id"], flush=True)
    if arguments.wait:
        batch = wait(client, batch["id"], _note_status)
    if arguments.json:
        show_json(batch)
    if arguments.wait:
        _check_completed(batch)
    return Exit.OK


def _tenths() -> Callable[[int, int], None]:
    """A callback that prints progress at each tenth of an upload."""
    tenths = 0

    def report(sent: int, size: int) -> None:
        nonlocal tenths
        tenth = 10 * sent // size if size else 10
        if tenth > tenths:
            note(f"uploaded {10 * tenth} % of {size:,} bytes")
        tenths = max(tenths, tenth)

    return report


def _list(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    batches = page(client, limit=arguments.limit, after=arguments.after)
    if arguments.json:
        show_json(batches)
        return Exit.OK
    print("\n".join(columns([COLUMNS, *map(_row, batches["data"])])))
    if batches["has_more"]:
        note(f"there are more: --after {batches['last_id']}")
    return Exit.OK


def _row(batch: Batch) -> tuple[str, ...]:
    counts = batch["request_counts"]
    numbers = (str(counts[name]) for name in ("completed", "failed", "total"))
    return (
        batch["id"],
        batch["status"],
        *numbers,
        span(time.time() - batch["created_at"]),
        batch["endpoint"],
    )


def _show(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    return _shown(show(client, arguments.batch), arguments)


def _cancel(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    return _shown(cancel(client, arguments.batch), arguments)


def _shown(batch: Batch, arguments: argparse.Namespace) -> Exit:
    if arguments.json:
        show_json(batch)
    else:
        print("\n".join(_card(batch)))
    return Exit.OK


def _card(batch: Batch) -> list[str]:
    usage, problems = batch["usage"], (batch["errors"] or {}).get("data", [])
    return named(
        [
            ("id", batch["id"]),
            ("status", f"{batch['status']} ({_counted(batch)})"),
            ("endpoint", batch["endpoint"]),
            *(("metadata", f"{name}={value}") for name, value in (batch["metadata"] or {}).items()),
            *((label, moment_if_any(batch[name])) for name, label in TIMES.items()),
            ("input", batch["input_file_id"]),
            ("output", batch["output_file_id"]),
            ("errors", batch["error_file_id"]),
            ("tokens", f"{usage['input_tokens']} in, {usage['output_tokens']} out"),
            *(("problem", _problem(problem)) for problem in problems),
        ]
    )


def _problem(problem: dict[str, Any]) -> str:
    return f"{problem['code']}: {problem['message']}"


def _wait(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    ended = wait(client, arguments.batch, _note_status)
    if arguments.json:
        show_json(ended)
    _check_completed(ended)
    return Exit.OK


def _note_status(batch: Batch) -> None:
    note(f"{batch['status']}: {_counted(batch)}")


def _counted(batch: Batch) -> str:
    counts = batch["request_counts"]
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    return f"{counts['completed']} of {counts['total']} done{failed}"


def _check_completed(batch: Batch) -> None:
    if batch["status"] != "completed":
        problems = (batch["errors"] or {}).get("data", [])
        why = f" {_problem(problems[0])}" if problems else ""
        raise CommandError(Exit.JOB, plain(f"The batch is {batch['status']}.{why}"))


def _output(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    return _fetched(client, arguments, "output_file_id", "no line succeeded")


def _errors(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    return _fetched(client, arguments, "error_file_id", "no line failed")


def _fetched(client: httpx.Client, arguments: argparse.Namespace, name: str, none: str) -> Exit:
    batch = show(client, arguments.batch)
    if batch["status"] not in ENDED:
        raise CommandError(Exit.REFUSED, f"The batch is {batch['status']}; its files are made at its end.")
    if batch["status"] == "failed":
        # No line of the batch was taken, so the reason is in no file.
        _check_completed(batch)
    if batch[name] is None:
        note(none)
    elif arguments.to is None:
        download(client, batch[name], sys.stdout.buffer)
    else:
        _saved(client, batch[name], arguments.to)
    return Exit.OK


def _saved(client: httpx.Client, file: str, path: Path) -> None:
    """Write to a pipe or device directly; replace a file only once the download is whole."""
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as into:
                download(client, file, into)
        else:
            _replaced(client, file, path.resolve())
    except OSError as error:
        raise CommandError(Exit.USAGE, f"{path} cannot be written: {error.strerror}.") from None


def _replaced(client: httpx.Client, file: str, path: Path) -> None:
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as into:
            download(client, file, into)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
