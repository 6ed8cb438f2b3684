"""What a map asks of each row: a template filled from columns, and how the answer becomes columns."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from sightline.exits import CommandError, Exit
from sightline.mapping.media import START, Medium, RowError, kind_of
from sightline.mapping.rows import Row

_PLACE = re.compile(r"\{\{(\w+)\}\}|\{([^\W\d]\w*)\}")
"""`{name}` stands for a column; `{{name}}` for itself in braces. JSON in a question needs no care."""
OWN = ("answer", "error", "job")
"""Columns that a map adds."""
PARTS = {"Document": "document", "Sound": "audio", "Video": "video"}
"""How a job's messages hold what is no picture."""


@dataclass(frozen=True)
class Question:
    template: str
    model: str
    schema: dict[str, Any] | None = None
    max_tokens: int | None = None

    @cached_property
    def digest(self) -> str:
        return _hash(asdict(self))

    @property
    def properties(self) -> tuple[str, ...]:
        """The columns that a structured answer becomes; the service says what is wrong with a schema."""
        named = (self.schema or {}).get("properties")
        return tuple(named) if isinstance(named, dict) else ()

    def check(self, columns: Iterable[str]) -> None:
        """Raises CommandError where the template is no text or names no column."""
        try:
            self.template.encode()
        except UnicodeEncodeError:
            raise CommandError(Exit.USAGE, "The question is not UTF-8.") from None
        known = set(columns)
        for match in _PLACE.finditer(self.template):
            if match[2] and match[2] not in known:
                message = f"The question names {{{match[2]}}}; columns are {', '.join(sorted(known))}"
                raise CommandError(Exit.USAGE, f"{message}. Write {{{{{match[2]}}}}} for the word in braces.")
        if taken := sorted({*OWN} & {*self.properties}):
            message = "is both a property of the schema and a column that each answer has: rename it"
            raise CommandError(Exit.USAGE, f"{', '.join(taken)} {message}.")

    def text(self, row: Row) -> str:
        """Raises RowError."""
        if row.fault is not None:
            raise row.fault

        def filled(match: re.Match[str]) -> str:
            if match[1]:
                return f"{{{match[1]}}}"
            if match[2] not in row.columns:
                raise RowError("missing_column", f"The row has no column {match[2]}.")
            return _to_text(row.columns[match[2]])

        return _PLACE.sub(filled, self.template)

    def key(self, row: Row) -> str:
        """Names the row and what is asked of it: the same after any restart.

        Raises OSError, RowError; ValueError for a path that no file can have.
        """
        text, medium = self.text(row), row.medium and row.medium.identity()
        return _hash([self.digest, text, medium, row.columns])

    def key_of_failure(self, row: Row, why: str) -> str:
        """Names a row of which is not known what it would ask."""
        return _hash([self.digest, "failure", why, row.columns])

    def body(self, row: Row, rows: int = 0) -> bytes:
        """The job to submit, one of so many. Raises as `key`."""
        parameters: dict[str, Any] = {}
        if self.max_tokens is not None:
            parameters["max_new_tokens"] = self.max_tokens
        if self.schema is not None:
            schema = {"name": "answer", "schema": self.schema}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        job = {"model": self.model, **_asked(self.text(row), row.medium)}
        # By it the page shows the jobs of a map as one. No question is in it: metadata is kept longer.
        metadata = {"map": f"{self.digest[:16]}/{rows}", "row": row.name}
        job |= {
            "parameters": parameters,
            "priority": "batch",
            "metadata": {name: value for name, value in metadata.items() if value},
        }
        try:
            return json.dumps(job, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            raise RowError(
                "invalid_text", "The row's question holds half a character (a lone surrogate)."
            ) from None

    def values(self, answer: str) -> dict[str, Any] | None:
        """The columns of a structured answer; None for one that broke off."""
        if self.schema is None:
            return {}
        try:
            value = json.loads(answer)
        except ValueError:
            return None
        return {name: value.get(name) for name in self.properties} if isinstance(value, dict) else {}


def _asked(text: str, medium: Medium | None) -> dict[str, Any]:
    """Raises RowError: a table may name any file of this machine, and only media leave it."""
    if medium is None:
        return {"input": {"prompt": text}}
    if medium.url or medium.load is None:
        return {"input": {"prompt": text, "image": medium.url}}
    data = medium.load()
    if (kind := kind_of(data[:START])) is None:
        raise RowError("invalid_image", "Its file is no picture, document, sound or video.")
    if kind == "Image":
        return {"input": {"prompt": text, "image": base64.b64encode(data).decode()}}
    name = PARTS[kind]
    part = {"type": name, name: f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"}
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": text}]}]}


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
