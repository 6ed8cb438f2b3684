"""The journal beside a map's output: a line for each row that has ended, so that a killed map goes on."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NotRequired

from filelock import lock_descriptor
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from sightline.exits import CommandError, Exit
from sightline.json_text import to_text

VERSION = 1


class Failure(TypedDict):
    """Why a row has no answer; `retryable`: it is asked again by the next start."""

    code: str
    message: str
    retryable: bool


class Record(TypedDict):
    columns: dict[str, Any]
    answer: NotRequired[str | None]
    values: NotRequired[dict[str, Any]]
    error: Failure | None
    job: str | None
    tries: int


_RECORDS = TypeAdapter(Record)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises CommandError where the disk takes no more."""
    try:
        yield
    except OSError as error:
        why = f"{path} cannot be written ({error.strerror}): the same command goes on."
        raise CommandError(Exit.USAGE, why) from None


class Journal:
    """Appended to in the order in which rows end; read by key. In memory are keys and places only."""

    def __init__(self, path: Path, question: str) -> None:
        """Raises CommandError if it is a link, another map writes it, or it has another question."""
        if path.is_symlink():
            message = f"{path} is a symbolic link, which is not followed: remove it, or name another output."
            raise CommandError(Exit.USAGE, message)
        self.path = path
        self._places: dict[bytes, int] = {}
        self._failed: set[bytes] = set()
        self._again: dict[bytes, int] = {}
        with ExitStack() as opened, writing(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(path, flags, 0o666), "a+b")
            opened.callback(self._file.close)
            if not lock_descriptor(self._file.fileno(), blocking=False):
                raise CommandError(Exit.USAGE, f"Another map writes {path}: wait for its end.")
            try:
                self._read_back(question)
            except (ValueError, LookupError, TypeError):
                message = f"{path} is damaged: delete it, or name another output, to ask anew."
                raise CommandError(Exit.USAGE, message) from None
            opened.pop_all()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        # Each line is flushed; what a full disk refused is refused once more.
        with suppress(OSError):
            self._file.close()

    def done(self, key: str) -> bool:
        """Whether the row was answered, or failed for good."""
        name = bytes.fromhex(key)
        return name in self._places and name not in self._again

    @property
    def answered(self) -> bool:
        return len(self._places) > len(self._failed)

    def failed(self, key: str) -> bool:
        return bytes.fromhex(key) in self._failed

    def tries(self, key: str) -> int:
        """How often the row has failed in a way that may pass."""
        return self._again.get(bytes.fromhex(key), 0)

    def add(self, key: str, record: Record) -> None:
        """A line is whole in the system's hands before the next row is asked for.

        Half a character (a lone surrogate) becomes a question mark: no file of text can hold it.
        """
        line = {"key": key, **record}
        text = to_text(line, default=str)
        with writing(self.path):
            at = self._file.seek(0, os.SEEK_END)
            self._file.write(text.encode("utf-8", "replace") + b"\n")
            self._file.flush()
        self._index(bytes.fromhex(key), record, at)

    def read(self, key: str) -> Record:
        """NaN and infinity are null, as no JSON can hold them."""
        self._file.seek(self._places[bytes.fromhex(key)])
        record: Record = json.loads(self._file.readline(), parse_constant=lambda _: None)
        return record

    def sync(self) -> None:
        """Onto the disk: what a machine keeps that loses its power."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    def _read_back(self, question: str) -> None:
        heading = {"version": VERSION, "question": question}
        self._file.seek(0)
        first, at = self._file.readline(), self._file.tell()
        if not self._file.readline() or (json.loads(first) != heading and not self._holds_answer(at)):
            # No row was answered yet: whatever it was begun for, it may be for this.
            self._file.truncate(0)
            self._file.write(json.dumps(heading).encode() + b"\n")
            self._file.flush()
            return
        if json.loads(first) != heading:
            message = f"{self.path} belongs to another question, model or length of answers"
            raise CommandError(Exit.USAGE, f"{message}: name another output, or delete it to ask anew.")
        self._file.seek(at)
        while line := self._file.readline():
            if not line.endswith(b"\n"):
                # Cut off by a kill: the row is asked again and the service knows its answer.
                self._file.truncate(at)
                break
            # Raises LookupError, TypeError, ValueError for what is no line of a journal.
            fields = json.loads(line)
            self._index(bytes.fromhex(fields["key"]), _RECORDS.validate_python(fields), at)
            at += len(line)

    def _holds_answer(self, at: int) -> bool:
        self._file.seek(at)
        return any(line.endswith(b"\n") and not json.loads(line)["error"] for line in self._file)

    def _index(self, key: bytes, record: Record, at: int) -> None:
        self._places[key] = at
        self._again.pop(key, None)
        self._failed.discard(key)
        if error := record["error"]:
            self._failed.add(key)
            if error["retryable"]:
                self._again[key] = record["tries"]
