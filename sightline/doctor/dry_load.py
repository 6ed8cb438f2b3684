"""Has a child process load models without their weights, since the command line does not import torch."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from shared.models import Model
from sightline.serving.interpreter import PYTHON, with_our_packages

COMMAND = (*PYTHON, "-W", "ignore", "-m", "worker.engines.loading.dry_load")
# Nothing is fetched.
OFFLINE = {"HF_HUB_OFFLINE": "1"}
LIMIT_S = 300


class UntriedError(Exception):
    """The message says why no model could be tried."""


def refusals(models: Sequence[Model]) -> dict[str, str]:
    """By id, what a worker would refuse; nothing where a worker could not run. Raises UntriedError."""
    if not (models and find_spec("torch") and find_spec("transformers")):
        return {}
    if sys.stderr.isatty():
        print("loading the models without their weights …", file=sys.stderr)
    refused: list[str] = []
    while len(refused) < len(models):
        refused += _refusals(models[len(refused) :])
    return {
        model.id: refusal.removeprefix(f"model {model.id}: ")
        for model, refusal in zip(models, refused, strict=True)
        if refusal
    }


def _refusals(models: Sequence[Model]) -> list[str]:
    """What a worker would refuse of each, "" where nothing, up to one whose load ends the process."""
    child = _child("".join(f"{model.model_dump_json(exclude_unset=True)}\n" for model in models))
    refused: list[str] = [json.loads(line) for line in child.stdout.splitlines()]
    if len(refused) == len(models):
        return refused
    if child.returncode >= 0:
        last = (child.stderr.strip() or f"exit code {child.returncode}").splitlines()[-1]
        raise UntriedError(last[:200])
    return [*refused, f"a trial load ended its process with signal {-child.returncode}"]


def _child(rows: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603 - our own module
            COMMAND,
            input=rows,
            capture_output=True,
            encoding="utf-8",
            env=with_our_packages(os.environ | OFFLINE),
            timeout=LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UntriedError(str(error)) from None
