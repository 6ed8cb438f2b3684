"""Finds a model's files on this machine, or downloads them, and guesses how long loading takes."""

import time
from pathlib import Path

from huggingface_hub import snapshot_download

from shared.errors import ModelFailed
from shared.models import Model

# Other frameworks' copies of the same weights.
NOT_OURS = ("*.h5", "*.msgpack", "*.onnx", "*.ot", "*.gguf", "*.pth", "original/*", "onnx/*")

# Enough to tell a network disk from a local one, and little enough to take no time.
SAMPLE_BYTES = 32 * 2**20


def load_guess(model: Model) -> tuple[float, str]:
    """Seconds to read the model's folder at the rate of a first sample, at least 1; and the guess's kind."""
    files = sorted(model.folder.files, key=lambda file: file.stat().st_size)
    if not files or not files[-1].stat().st_size:
        return model.folder.load_guess_s, "guess"
    started = time.perf_counter()
    with files[-1].open("rb") as largest:
        read = len(largest.read(SAMPLE_BYTES))
    rate = read / (time.perf_counter() - started)
    return max(1.0, sum(file.stat().st_size for file in files) / rate), "read_rate"


def model_folder(model: Model) -> Path:
    """The model's folder; a hub id is downloaded at its revision, once.

    Raises ModelFailed naming the model and its source.
    """
    folder = Path(model.source)
    what = f"model {model.id}: the source {model.source!r}"
    if model.source and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelFailed(f"{what} is a folder without config.json; name the one that holds the model.")
        return folder
    if model.source.count("/") != 1 or model.source.startswith((".", "/", "~")):
        raise ModelFailed(
            f"{what} is neither a folder on this machine nor a model id of the Hugging Face hub."
        )
    try:
        return Path(snapshot_download(model.source, revision=model.revision, ignore_patterns=list(NOT_OURS)))
    except (OSError, ValueError) as error:
        raise ModelFailed(
            f"{what} is not a folder on this machine, and the Hugging Face hub does not give it: {error}"
        ) from error
