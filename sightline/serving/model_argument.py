"""What MODEL of `sightline run MODEL` means: a row of the models file, a folder, or a model of the hub."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import tomli_w

from shared.model_files import DamagedFileError
from shared.model_files import weights as weight_files
from shared.models import Model
from sightline.exits import CommandError, Exit
from sightline.serving.model_choice import Engine, choose, device, visible_devices, weights
from sightline.serving.model_download import described

HEAD = "# Written by `sightline run {}`: copy it to models.toml to change it (docs/models.md).\n\n"


class Wanted(NamedTuple):
    """What was typed behind `sightline run`; None where nothing was."""

    model: str | None = None
    engine: Engine | None = None
    workers: int | None = None

    def environments(self) -> Sequence[Mapping[str, str]]:
        """What each worker of a model gets besides the settings: of several, a GPU of its own."""
        if not self.model and self.workers in (None, 1):
            return [{}]
        place = device()
        count = self.workers or place.count
        return visible_devices(count) if place.gpu else [{}] * count


def write_models_file(
    model: str, engine: Engine | None, listed: Sequence[Model], file: Path, say: Callable[[str], None]
) -> None:
    """Write a models file with this one model, one of those listed or another, its weights fetched.

    Raises CommandError.
    """
    row = next((row for row in listed if row.id == model), None) or _chosen(model, engine, say)
    row = row.model_copy(update={"engine": engine} if engine else {})
    content = tomli_w.dumps({"models": [row.model_dump(mode="json", exclude_defaults=True)]})
    try:
        file.write_text(HEAD.format(model) + content, encoding="utf-8")
    except OSError as error:
        raise CommandError(Exit.DATA, f"{file} cannot be written: {error.strerror}.") from None


def _chosen(model: str, engine: Engine | None, say: Callable[[str], None]) -> Model:
    folder = Path(model).expanduser()
    if folder.is_dir():
        choice = choose(_id(folder), str(folder.resolve()), weights(folder, _size(folder)), device(), engine)
        say(choice.words)
        return choice.row
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", model):
        message = f"{model} is no id of the models file, no folder, and no id of the Hugging Face hub"
        raise CommandError(Exit.USAGE, f"{message} (organisation/name).")
    hub = described(model)
    choice = choose(model, str(hub.folder), weights(hub.folder, hub.weights), device(), engine)
    say(choice.words)
    hub.download()
    return choice.row


def _id(folder: Path) -> str:
    """The folder's name as an id, in which fewer characters may stand."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).lstrip("._-") or "model"


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in weight_files(folder))
    except (DamagedFileError, OSError) as error:
        raise CommandError(Exit.USAGE, f"{folder}: {error}; get its files anew.") from None
