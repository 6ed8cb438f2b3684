"""Checks a model's folder: that all files that loading reads are there, and each file of weights is whole."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
INDEX = "model.safetensors.index.json"
# A model need not have it.
OWN_DEFAULTS = "generation_config.json"
HEAD_LIMIT = 100_000_000
"""Bytes of a safetensors header; the format's own readers refuse more."""


def faults(folder: Path) -> Iterator[str]:
    """What is wrong with the folder, each fault in a few words."""
    yield from _object_faults(folder / "config.json")
    if (folder / OWN_DEFAULTS).exists():
        yield from _object_faults(folder / OWN_DEFAULTS)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        yield "there is no tokenizer"
    yield from _weight_faults(folder)


def _object_faults(path: Path) -> Iterator[str]:
    try:
        if not isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
            yield f"{path.name} is no JSON object"
    except OSError as error:
        yield f"{path.name}: {error.strerror}"
    except ValueError:
        yield f"{path.name} is not JSON"


def weights(folder: Path) -> list[Path]:
    """The files of weights; where there are several formats, in the one that is loaded."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _weight_faults(folder: Path) -> Iterator[str]:
    files = weights(folder)
    if not files:
        yield "there are no weights (*.safetensors)"
    for name in _indexed(folder) - {path.name for path in files}:
        yield f"{name} is missing, which {INDEX} names"
    for path in files:
        if path.suffix == ".safetensors" and (fault := _fault(path)):
            yield f"{path.name} {fault}"


def _indexed(folder: Path) -> set[str]:
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return set(index["weight_map"].values())
    except (OSError, ValueError, LookupError, AttributeError):
        return set()


def _fault(path: Path) -> str | None:
    """What is wrong with a file. Its header says where the last tensor ends, so half a download is found."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > HEAD_LIMIT:
                return "is no safetensors file"
            head: dict[str, Any] = json.loads(file.read(size))
        ends = [row["data_offsets"][1] for name, row in head.items() if name != "__metadata__"]
        whole, there = 8 + size + max(ends, default=0), path.stat().st_size
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, LookupError, TypeError, AttributeError):
        return "is no safetensors file"
    return None if there == whole else f"has {there} of {whole} bytes"
