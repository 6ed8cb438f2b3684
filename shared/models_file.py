"""`models.toml`: the models an installation serves, a table each."""

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.models import Model, Models
from shared.settings import SettingsError

OTHER_NAMES = {"attn_implementation": "attention", "torch_dtype": "dtype"}
"""What transformers calls a field of a row."""


def load_models(path: Path, only: str | None = None) -> Models:
    """Read the models file, or the rows with `only` this id. Raises SettingsError naming row and field."""
    rows = {
        number: _row(path, number, row)
        for number, row in enumerate(_rows(path, _read(path)), 1)
        if only in (None, row.get("id"))
    }
    _check_apart(path, rows)
    for model in rows.values():
        _ = model.folder
    return Models(tuple(rows.values()))


def _read(path: Path) -> dict[str, Any]:
    try:
        # Some editors on Windows write a mark in front.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError(f"models file {path}: line {line} is not UTF-8") from None
    except OSError as error:
        other = "SIGHTLINE_MODELS_FILE names the one of a service"
        raise SettingsError(f"models file {path.absolute()}: {error.strerror}; {other}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"models file {path}: {error}") from None


def _rows(path: Path, table: dict[str, Any]) -> list[dict[str, Any]]:
    expected = f"models file {path}: expected one or more [[models]] tables and nothing else"
    other = next((name for name in table if name != "models"), None)
    if other is not None:
        raise SettingsError(f"{expected}, but it has {other!r}")
    rows = table.get("models", [])
    if isinstance(rows, dict):
        raise SettingsError(f"{expected}, but it has [models]: double its brackets")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingsError(f"{expected}, but models is {rows!r:.40}")
    if not rows:
        raise SettingsError(f"{expected}, but it has none")
    return rows


def _row(path: Path, number: int, row: dict[str, Any]) -> Model:
    try:
        model = Model.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise SettingsError(f"models file {path}: row {number}, {where}: {_reason(where, first)}") from None
    folder = path.parent / model.source
    if model.source and folder.is_dir():
        model = model.model_copy(update={"source": str(folder.resolve())})
    if model.trust_remote_code and model.revision == "main" and not Path(model.source).is_dir():
        raise SettingsError(f"models file {path}: row {number}: trust_remote_code needs a pinned revision")
    return model


def _reason(field: str, error: ErrorDetails) -> str:
    if error["type"] != "extra_forbidden":
        return error["msg"].removeprefix("Value error, ")
    if field in OTHER_NAMES:
        return f"it is {OTHER_NAMES[field]} here"
    near = get_close_matches(field, Model.model_fields, n=1)
    return f"is no field of a row; did you mean {near[0]}?" if near else "is no field of a row"


def _check_apart(path: Path, rows: dict[int, Model]) -> None:
    """Refuse ids that make the same queue name, given the rows by number. Raises SettingsError."""
    numbers: dict[str, int] = {}
    for number, row in rows.items():
        first = numbers.setdefault(row.lane, number)
        if first != number:
            pair = f"rows {first} and {number} have the same id, {rows[first].id} and {row.id}"
            raise SettingsError(f"models file {path}: {pair} (case, and / or --, tell none apart)")
