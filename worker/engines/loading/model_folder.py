"""Finds a model's files on this machine, or downloads them; what they are, and how long they take to read."""

import hashlib
import time
from pathlib import Path

from huggingface_hub import snapshot_download

from shared.errors import ModelFailed
from shared.model_files import NOT_OURS
from shared.models import START_S, Model, may_be_on_hub

# Of weights, configurations, processor, tokenizer, templates and remote code; not of model cards and
# pictures.
SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".tiktoken", ".py"})
# Enough to tell a network disk from a local one, and little enough to take no time.
SAMPLE_BYTES = 32 * 2**20


def model_folder(model: Model) -> Path:
    """The model's folder; a hub id is downloaded at its revision, once.

    Raises ModelFailed naming the model and its source.
    """
    folder = Path(model.source)
    subject = f"model {model.id}: the source {model.source!r}"
    if model.source and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelFailed(
                f"{subject} is a folder without config.json; name the one that holds the model."
            )
        return folder
    if not may_be_on_hub(model.source):
        raise ModelFailed(
            f"{subject} is neither a folder on this machine nor a model id of the Hugging Face hub."
        )
    try:
        return Path(snapshot_download(model.source, revision=model.revision, ignore_patterns=list(NOT_OURS)))
    except (OSError, ValueError) as error:
        raise ModelFailed(
            f"{subject} is not a folder on this machine, and the Hugging Face hub does not give it: {error}"
        ) from error


def digest_folder(folder: Path) -> str:
    """sha256 over names and contents of a model's files; reads every weight once, at the disk's speed."""
    total = hashlib.sha256()
    for path in sorted(_model_files(folder)):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return total.hexdigest()


def _model_files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.suffix in SUFFIXES
        and path.is_file()
        and not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
    ]


def load_guess(model: Model) -> tuple[float, str]:
    """Seconds to start, and to read the model's folder at the rate of a first sample; the guess's kind."""
    files = sorted(model.folder.files, key=lambda file: file.stat().st_size)
    if not files or not files[-1].stat().st_size:
        return model.folder.load_guess_s, "guess"
    started = time.perf_counter()
    with files[-1].open("rb") as largest:
        read = len(largest.read(SAMPLE_BYTES))
    rate = read / (time.perf_counter() - started)
    return START_S + sum(file.stat().st_size for file in files) / rate, "read_rate"
