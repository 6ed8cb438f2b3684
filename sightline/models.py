"""`sightline models`: lists and changes the models that a running service serves, over the admin routes."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from shared.models_file import load_models
from shared.settings import SettingsError
from sightline.commands import add_actions, set_action
from sightline.exits import CommandError, Exit
from sightline.serving.service import fetched, segment
from sightline.terminal import columns, plain, show_json

PATH = "/v1/admin/models"
COLUMNS = ("MODEL", "STATE", "WAITING", "RUNNING", "WORKERS")
EXAMPLES = """\
examples:
  sightline models list
  sightline models add examples/models/catalogue.toml --model Qwen/Qwen3-VL-4B-Instruct
  sightline models pause Qwen/Qwen3-VL-4B-Instruct
  sightline models resume Qwen/Qwen3-VL-4B-Instruct --url http://10.0.0.5:8000
  sightline models drain Qwen/Qwen3-VL-4B-Instruct         then, when `list` says drained:
  sightline models remove Qwen/Qwen3-VL-4B-Instruct

A paused model accepts jobs and starts none; running ones finish, and synchronous calls get 503
model_paused. A drained one accepts no new jobs, and queued ones continue; resume undoes both. A removed
model's queued jobs fail with model_removed. All of this survives restarts (docs/models.md).
"""


def add_models(command: argparse.ArgumentParser) -> None:
    actions = add_actions(command, "Lists, adds, pauses, resumes, drains and removes models.", EXAMPLES)
    listing = actions.add_parser("list", help="list the models and their state")
    listing.description = "Lists the served models and their state."
    set_action(listing, _list)
    _add_add(actions.add_parser("add", help="serve the models of a TOML file too"))
    for name, act, text in (
        ("pause", _change, "start none of a model's jobs; running ones finish"),
        ("resume", _change, "undo pause and drain"),
        ("drain", _change, "accept no new jobs for a model; queued ones continue"),
        ("remove", _remove, "stop serving a model; queued jobs fail"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
        action.add_argument("model", metavar="MODEL", help="the model's id")
        action.set_defaults(change=name)
        set_action(action, act)


def _add_add(action: argparse.ArgumentParser) -> None:
    action.description = "Serves the models of a file like models.toml, or one of them. Idempotent."
    action.add_argument("file", type=Path, metavar="FILE", help="a file with [[models]] tables")
    action.add_argument("--model", metavar="MODEL", help="only the one with this id")
    set_action(action, _add)


def _list(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    fleet = fetched(client, "GET", "/v1/admin/fleet")
    if arguments.json:
        show_json(fleet)
    else:
        print("\n".join(columns([COLUMNS, *map(_row, fleet["models"])])))
    return Exit.OK


def _row(it: dict[str, Any]) -> tuple[str, ...]:
    waiting, workers = sum(it["queued"].values()), len(it["workers"])
    return plain(it["model"]), standing(it), str(waiting), str(it["running"]), str(workers)


def standing(it: dict[str, Any]) -> str:
    """Draining or paused, if an operator said so; else the workers' state."""
    if it["draining"]:
        done = "drained" if it["drained"] else "draining"
        return f"{done}, paused" if it["paused"] else done
    return "paused" if it["paused"] else str(it["state"])


def _add(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    for row in _rows(arguments.file, arguments.model):
        added = fetched(client, "POST", PATH, body=row)
        if arguments.json:
            show_json(added)
        else:
            name = plain(added["id"])
            print(f"{name} is served as soon as a worker has loaded it (sightline run starts one)")
    return Exit.OK


def _rows(file: Path, wanted: str | None) -> Iterator[dict[str, Any]]:
    try:
        models = load_models(file, wanted).rows
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    if not models:
        raise CommandError(Exit.USAGE, f"{file} has no model with the id {wanted}.")
    yield from (model.model_dump(mode="json", exclude_defaults=True) for model in models)


def _change(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    name = segment(arguments.model, safe="/")
    fetched(client, "POST", f"{PATH}/{name}/{arguments.change}")
    status = fetched(client, "GET", f"/status/{name}")
    if arguments.json:
        show_json(status)
    else:
        words = [state for state in ("paused", "draining") if status[state]] or ["not paused"]
        print(f"{arguments.model} is {' and '.join(words)}; waiting: {status['queued']}")
    return Exit.OK


def _remove(client: httpx.Client, arguments: argparse.Namespace) -> Exit:
    fetched(client, "DELETE", f"{PATH}/{segment(arguments.model, safe='/')}")
    if arguments.json:
        show_json({"id": arguments.model, "removed": True})
    else:
        print(f"{plain(arguments.model)} is removed; what waits for it fails with model_removed")
    return Exit.OK
