"""What MODEL of `sightline run MODEL` means: a row of the models file, a folder, or a model of the hub."""

import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import tomli_w

from shared.model_files import DamagedFileError, description_faults, missing_package
from shared.model_files import weights as weight_files
from shared.models import Model
from sightline.exits import CommandError, Exit
from sightline.model_setup.choice import Engine, choose, device, weights
from sightline.model_setup.download import described

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
HEAD = "# Written by `sightline run {}`: copy it to models.toml to change it (docs/models.md).\n\n"


class ModelArgument(NamedTuple):
    """What was typed behind `sightline run`; None where nothing was."""

    model: str | None = None
    engine: Engine | None = None
    workers: int | None = None

    def copies(self, listed: Sequence[Model]) -> int:
        """Workers of each model: as typed, else of a MODEL that has no place yet one for each GPU."""
        row = next((row for row in listed if row.id == self.model), None)
        if self.workers or not self.model or (row is not None and _has_place(row)):
            return self.workers or 1
        return device().count


def _has_place(row: Model) -> bool:
    spread = row.device_map is not None or row.options.get("tensor_parallel_size", 1) != 1
    return spread or row.device != "auto" or row.engine == "echo"


def write_models_file(
    wanted: ModelArgument, workers: int, listed: Sequence[Model], file: Path, say: Callable[[str], None]
) -> None:
    """Write a models file with the one model, of those listed or another, its weights fetched.

    Raises CommandError.
    """
    model, engine = str(wanted.model), wanted.engine
    if engine == "vllm" and find_spec("vllm") is None:
        raise CommandError(Exit.USAGE, "--engine vllm: vLLM is not installed here (docs/vllm.md).")
    row = next((row for row in listed if row.id == model), None) or _choose(model, engine, workers, say)
    row = row.model_copy(update={"engine": engine} if engine else {})
    content = tomli_w.dumps({"models": [row.model_dump(mode="json", exclude_defaults=True)]})
    try:
        file.write_text(HEAD.format(model) + content, encoding="utf-8")
    except OSError as error:
        raise CommandError(Exit.DATA, f"{file} cannot be written: {error.strerror}.") from None


def _choose(model: str, engine: Engine | None, workers: int, say: Callable[[str], None]) -> Model:
    folder, hub = Path(model).expanduser(), None
    if model and folder.is_dir():
        id, folder, size = _id(folder), folder.resolve(), _size(folder)
    elif HUB_ID.fullmatch(model):
        hub = described(model)
        id, folder, size = model, hub.folder, hub.weights
    else:
        message = f"{model} is no id of the models file, no folder, and no id of the Hugging Face hub"
        raise CommandError(Exit.USAGE, f"{message} (organisation/name).")
    choice = choose(id, str(folder), weights(folder, size), device().shared_by(workers), engine)
    say(choice.words)
    if hub is not None:
        for fault in description_faults(folder):
            raise CommandError(Exit.USAGE, f"{model} cannot be served with pictures: {fault}.")
        if lack := missing_package(folder):
            raise CommandError(Exit.USAGE, f"{model} {lack}.")
        hub.download()
    return choice.row


def _id(folder: Path) -> str:
    """The folder's name as an id, in which fewer characters may stand."""
    name = normalize("NFKD", folder.resolve().name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-") or "model"


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in weight_files(folder))
    except (DamagedFileError, OSError) as error:
        raise CommandError(Exit.USAGE, f"{folder}: {error}; get its files anew.") from None
