"""The fingerprint: two workers that share it give the same answers, so they may share cached ones."""

import hashlib
import json
from pathlib import Path

# Of weights, configurations, processor, tokenizer, templates and remote code; not of model cards and
# pictures.
SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".tiktoken", ".py"})


def digest_folder(folder: Path) -> str:
    """sha256 over names and contents of a model's files; reads every weight once, at the disk's speed."""
    total = hashlib.sha256()
    for path in sorted(_model_files(folder)):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return total.hexdigest()


def fingerprint(**facts: str | int | float | bool | None) -> str:
    """32 hex digits over everything named that changes answers."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _model_files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.suffix in SUFFIXES
        and path.is_file()
        and not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
    ]
