"""Checks the models file, the folders that it names, and whether their weights fit into memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.model_files import description_faults, weight_faults, weights
from shared.models import Model
from shared.models_file import load_models
from shared.settings import SettingsError
from sightline.doctor.check import Check, ok, problem, warning
from sightline.doctor.dry_load import UntriedError, refusals
from sightline.exits import CommandError
from sightline.serving.devices import Devices

LARGER = {"auto": 1, "bfloat16": 1, "float16": 1, "float32": 2}
"""How many times the size of its files a model may take: most are published in 16 bits."""
FILE = "correct it, or name another by SIGHTLINE_MODELS_FILE; docs/models.md says what a row may hold"
LOAD = "do what it says, or get its files anew, or correct its row (docs/models.md)"
SOURCE = "correct `source` of its row in the models file, or put the model there"


def read(path: Path) -> tuple[Sequence[Model], list[Check]]:
    """The rows of the models file, and the finding on it; no rows where it cannot be read."""
    try:
        rows = load_models(path).rows
    except SettingsError as error:
        return (), [problem("models file", str(error), FILE)]
    named = ", ".join(row.id for row in rows[:5]) + (", …" if len(rows) > 5 else "")
    return rows, [ok("models file", f"{path}: {named}")]


def checks(models: Sequence[Model], free_mb: float | None, *, gpu: bool) -> Iterator[Check]:
    """`free_mb` is None where unknown, or where the weights are loaded already; `gpu`: there is one."""
    faults = {model.id: _file_faults(model) for model in models}
    sound = [model for model in models if not faults[model.id] and _can_be_tried(model)]
    try:
        faults |= {id: [refusal] for id, refusal in refusals(sound).items()}
    except UntriedError as error:
        yield warning("models", f"none could be loaded on trial: {error}", "try `sightline worker`")
    for model in models:
        computed_here = model.device == "cpu" or (model.device == "auto" and not gpu)
        yield _check(model, faults[model.id], free_mb if computed_here else None)


def _file_faults(model: Model) -> list[str]:
    folder = Path(model.source)
    if model.engine == "echo" or not folder.is_dir():
        return []
    return [*description_faults(folder), *weight_faults(folder)]


def _can_be_tried(model: Model) -> bool:
    """Not by running a model's own code, nor by downloading it: the doctor changes nothing."""
    return model.engine != "echo" and not model.trust_remote_code and Path(model.source).is_dir()


def check_all(models: Sequence[Model]) -> Iterator[Check]:
    """What `sightline run` would say of the models' memory, if anything."""
    try:
        Devices().check(models)
    except CommandError as error:
        yield problem("models", str(error), "serve fewer of them, or smaller ones")


def _check(model: Model, faults: Sequence[str], free_mb: float | None) -> Check:
    about, folder = f"model {model.id}", Path(model.source)
    if model.engine == "echo":
        return ok(about, "has no weights")
    if not folder.is_dir():
        return _elsewhere(about, model.source)
    if faults:
        return problem(about, f"{folder}: {'; '.join(faults)}", LOAD)
    size_mb = sum(path.stat().st_size for path in weights(folder)) / 1e6
    finding = f"its folder is complete, weights of {size_mb:.0f} MB"
    if free_mb is not None and size_mb > free_mb:
        fix = "end other programs, choose a smaller or a quantized model, or another machine"
        return problem(about, f"{finding}, but {free_mb:.0f} MB of memory are free", fix)
    most_mb = size_mb * LARGER[model.dtype]
    if free_mb is not None and most_mb > free_mb:
        fix = 'set dtype = "bfloat16" or "auto" for it'
        return warning(about, f"{finding}, {most_mb:.0f} MB as {model.dtype}; {free_mb:.0f} MB are free", fix)
    return ok(about, finding)


def _elsewhere(about: str, source: str) -> Check:
    if source.startswith((".", "/")) or source.count("/") != 1:
        return problem(about, f"there is no folder {source}", SOURCE)
    return ok(about, f"{source} is fetched from the Hub at its first start, or was")
