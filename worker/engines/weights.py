"""Where a model's files lie on this machine."""

from pathlib import Path

from huggingface_hub import snapshot_download

from shared.errors import ModelFailed
from shared.models import Model

# Other frameworks' copies of the same weights.
NOT_OURS = ("*.h5", "*.msgpack", "*.onnx", "*.ot", "*.gguf", "*.pth", "original/*", "onnx/*")

# A slow disk; what a load really took replaces the guess.
READ_BYTES_PER_S = 100_000_000


def guessed_load_s(model: Model) -> float:
    """Seconds to read the model's folder, at least 1; 1 too where nothing was downloaded yet."""
    folder = Path(model.source)
    files = folder.rglob("*") if model.source and folder.is_dir() else ()
    return max(1.0, sum(path.stat().st_size for path in files if path.is_file()) / READ_BYTES_PER_S)


def model_folder(model: Model) -> Path:
    """The model's folder; a hub id is downloaded at its revision, once.

    Raises ModelFailed naming the model and its source.
    """
    folder = Path(model.source)
    if model.source and folder.is_dir():
        return folder
    what = f"model {model.id}: the source {model.source!r}"
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
