"""What is wrong with the files of a model's folder, for the worker and for `sightline doctor`; without torch.

transformers' own errors on such files do not name the file.
"""

import json
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

CONFIG = "config.json"
PROCESSOR, IMAGE_PROCESSOR = "processor_config.json", "preprocessor_config.json"
VIDEO_PROCESSOR = "video_preprocessor_config.json"
# A model need not have them all.
OBJECTS = ("generation_config.json", "tokenizer.json", "tokenizer_config.json", PROCESSOR, IMAGE_PROCESSOR)
TOKENIZERS = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "tekken.json", "*.tiktoken")
# In the order in which transformers looks for them if the config names none; an index names shards.
FORMATS = ("model.safetensors", "pytorch_model.bin")
WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
"""Names of files that may be too large to be fetched before it is known that they are wanted."""
# Of a repository on the hub: other frameworks' copies of the same weights.
NOT_OURS = (
    *("*.h5", "*.msgpack", "*.onnx", "*.ot", "*.gguf", "*.pth", "original/*", "onnx/*"),
    "consolidated*.safetensors",
)
HEAD_LIMIT = 100_000_000
"""Bytes of a safetensors header; the format's own readers refuse more."""
SAMPLED = 3
"""Tensors of each file whose first values are looked at."""
SAMPLE_BYTES = 4096


class DamagedFileError(Exception):
    """The message names the file, and says what is wrong with it."""

    def __init__(self, path: Path, words: str) -> None:
        super().__init__(f"{path.name} {words}")


def description_faults(folder: Path) -> Iterator[str]:
    """What is wrong with the files that say how the model computes and how its inputs are made."""
    present = [folder / CONFIG, *(path for name in OBJECTS if (path := folder / name).is_file())]
    faults = [fault for path in present if (fault := _fault(path))]
    yield from faults
    # Code of the folder's own may need other files.
    if not faults and not any("auto_map" in _object(path) for path in present):
        yield from _missing_parts(folder)


def _missing_parts(folder: Path) -> Iterator[str]:
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZERS):
        yield "there is no tokenizer (tokenizer.json)"
    nested = folder / PROCESSOR
    described = nested.is_file() and "image_processor" in _object(nested)
    if not described and not (folder / IMAGE_PROCESSOR).is_file():
        yield f"there is no image processor ({IMAGE_PROCESSOR})"


def missing_package(folder: Path) -> str:
    """What the folder's processor needs and is not installed here, with the command for it; else empty."""
    nested = folder / PROCESSOR
    videos = nested.is_file() and "video_processor" in _object(nested)
    if (videos or (folder / VIDEO_PROCESSOR).is_file()) and find_spec("torchvision") is None:
        return f"has a processor for videos, which needs torchvision: {torchvision_install()}"
    return ""


def torchvision_install() -> str:
    """The command that installs the one for the torch that is here: of its version, and of its index."""
    torch_version = version("torch")
    build = torch_version.partition("+")[2]
    index = build and f"--index-url https://download.pytorch.org/whl/{build} "
    return f"{sys.executable} -m pip install {index}torchvision torch=={torch_version}"


def weight_faults(folder: Path) -> Iterator[str]:
    """What is wrong with the files of weights; of each file the beginning is read."""
    try:
        files = weights(folder)
    except DamagedFileError as error:
        yield str(error)
        return
    if not files:
        yield f"there are no weights ({FORMATS[0]})"
    yield from (fault for path in files if (fault := _fault(path)))


def weights(folder: Path) -> list[Path]:
    """The files of weights that loading reads, there or not. Raises DamagedFileError if it is their index."""
    config = folder / CONFIG
    own = None if _fault(config) else _object(config).get("transformers_weights")
    for name in [str(own).removesuffix(".index.json")] if own else FORMATS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return [folder / shard for shard in _shards(index)]
    return []


def _shards(index: Path) -> list[str]:
    table = _object(index)
    shards = table.get("weight_map")
    # transformers reads both.
    if "metadata" not in table or not isinstance(shards, dict):
        raise DamagedFileError(index, "has no metadata or no weight_map")
    return sorted({str(shard) for shard in shards.values()})


def _fault(path: Path) -> str | None:
    check = {".json": _object, ".safetensors": _check_safetensors}.get(path.suffix, _check_pickle)
    try:
        if not path.stat().st_size:
            raise DamagedFileError(path, "is empty")
        check(path)
    except DamagedFileError as error:
        return str(error)
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    return None


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(path, f"is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise DamagedFileError(path, "is no JSON object")
    return content


def _check_safetensors(path: Path) -> None:
    """Its header says where the last tensor ends, so half a download is found."""
    with path.open("rb") as file:
        begin, tensors = _header(path, file)
        # Others may be bounds or masks, in which infinity has a meaning.
        named = (name for name in tensors if name.endswith("weight"))
        for name in islice(named, SAMPLED):
            tensor = tensors[name]
            first, end = tensor["data_offsets"]
            file.seek(begin + first)
            if not _finite(tensor.get("dtype"), file.read(min(end - first, SAMPLE_BYTES) // 4 * 4)):
                raise DamagedFileError(path, f"has NaN or infinity among the first weights of {name}")


def _header(path: Path, file: BinaryIO) -> tuple[int, dict[str, Any]]:
    """Where the first tensor begins, and the tensors in their order. Raises DamagedFileError."""
    holds = path.stat().st_size
    begin = 8 + int.from_bytes(file.read(8), "little")
    if holds < 8 or begin > HEAD_LIMIT:
        raise DamagedFileError(path, "is no safetensors file")
    if holds < begin:
        raise DamagedFileError(path, f"is cut off (holds {holds} bytes, and its header alone has {begin})")
    try:
        head: dict[str, Any] = json.loads(file.read(begin - 8))
        head.pop("__metadata__", None)
        tensors = dict(sorted(head.items(), key=lambda item: item[1]["data_offsets"]))
        places = [tuple(tensor["data_offsets"]) for tensor in tensors.values()]
        if not all(0 <= first <= end for first, end in places):
            raise ValueError
        whole = begin + max((end for _, end in places), default=0)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise DamagedFileError(path, "is no safetensors file") from None
    if holds != whole:
        state = "cut off" if holds < whole else "damaged"
        raise DamagedFileError(path, f"is {state} (holds {holds} bytes of the {whole} that its header names)")
    return begin, tensors


def _finite(dtype: str | None, values: bytes) -> bool:
    """Also true of numbers in other forms, such as those of quantised weights."""
    match dtype:
        case "F32":
            return all(bits & 0x7F800000 != 0x7F800000 for bits in memoryview(values).cast("I"))
        case "F16" | "BF16":
            exponent = 0x7C00 if dtype == "F16" else 0x7F80
            return all(bits & exponent != exponent for bits in memoryview(values).cast("H"))
    return True


def _check_pickle(path: Path) -> None:
    """torch writes a zip, whose end says what is in it; long ago it wrote a bare pickle."""
    with path.open("rb") as file:
        begin = file.read(2)
    if begin == b"PK" and not zipfile.is_zipfile(path):
        raise DamagedFileError(path, "is cut off")
    if begin not in (b"PK", b"\x80\x02"):
        raise DamagedFileError(path, "is no file of weights that torch has written")
