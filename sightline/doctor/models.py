"""Checks the models: the models file, their folders, and a load without weights.

A child process loads them, because the command line does not import torch.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from shared.model_files import description_faults, weight_faults
from shared.models import Model, may_be_on_hub
from shared.models_file import load_models
from shared.settings import SettingsError
from sightline.doctor import Check
from sightline.serving.interpreter import PYTHON, with_our_packages

COMMAND = (*PYTHON, "-W", "ignore", "-m", "worker.engines.loading.dry_load")
FILE = "correct it, or name another by SIGHTLINE_MODELS_FILE: docs/models.md says what a row may hold"
LOAD = "do what it says, get the model's files anew, or correct its row (docs/models.md)"
SOURCE = "correct `source` of its row in the models file, or put the model there"
UNTRIED = "see whether `sightline worker` starts; most often memory is short"


def read(path: Path) -> tuple[Sequence[Model], Check]:
    """Return the rows of the models file, none if it cannot be read, and the finding on it."""
    try:
        rows = load_models(path).rows
    except SettingsError as error:
        return (), Check("models file", "problem", str(error), FILE)
    named = ", ".join(row.id for row in rows[:5]) + (", …" if len(rows) > 5 else "")
    return rows, Check("models file", "ok", f"{path}: {named}")


def check(rows: Sequence[Model]) -> Iterator[Check]:
    """Return a finding for each model, and one more if not all could be tried. Runs no model's own code."""
    local = {row.id: Path(row.source) for row in rows if row.engine != "echo" and Path(row.source).is_dir()}
    faults = {id: "; ".join([*description_faults(it), *weight_faults(it)]) for id, it in local.items()}
    try:
        faults |= refusals([row for row in rows if faults.get(row.id) == "" and not row.trust_remote_code])
    except (OSError, subprocess.SubprocessError) as error:
        yield Check("models", "warning", f"not all could be loaded on trial: {error}", UNTRIED)
    for row in rows:
        about = f"model {row.id}"
        if fault := faults.get(row.id):
            yield Check(about, "problem", f"{row.source}: {fault}", LOAD)
        elif row.id in local or row.engine == "echo":
            yield Check(about, "ok", "its files are there" if row.id in local else "it has no files")
        elif may_be_on_hub(row.source):
            yield Check(about, "ok", f"{row.source} is fetched from the Hub at its first start, or was")
        else:
            yield Check(about, "problem", f"there is no folder {row.source}", SOURCE)


def refusals(rows: Sequence[Model]) -> dict[str, str]:
    """Return by id what a worker would refuse, "" for nothing; {} if no worker could run here.

    Raises OSError, and SubprocessError naming the model at whose load the child ended.
    """
    if not (rows and find_spec("torch") and find_spec("transformers")):
        return {}
    if sys.stderr.isatty():
        print("loading the models without their weights …", file=sys.stderr)
    child = subprocess.run(  # noqa: S603 - our own module
        COMMAND,
        input="".join(f"{row.model_dump_json(exclude_unset=True)}\n" for row in rows),
        capture_output=True,
        encoding="utf-8",
        env=with_our_packages(os.environ | {"HF_HUB_OFFLINE": "1"}),
        timeout=300,
        check=False,
    )
    refused: list[str] = [json.loads(line) for line in child.stdout.splitlines()]
    if len(refused) < len(rows):
        last = (child.stderr.strip() or f"it ended with {child.returncode}").splitlines()[-1]
        raise subprocess.SubprocessError(f"{rows[len(refused)].id}: {last[:200]}")
    answers = zip(rows, refused, strict=True)
    return {row.id: refusal.removeprefix(f"model {row.id}: ") for row, refusal in answers}
