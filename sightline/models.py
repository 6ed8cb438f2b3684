"""`sightline models`: lists and changes the models that a running service serves, over the admin routes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from shared.models_file import load_models
from shared.settings import SettingsError
from sightline.commands import Json, Url, commands
from sightline.exits import CommandError, Exit
from sightline.service_client import called, segment
from sightline.terminal import moment, plain, show, show_table, span

PATH = "/v1/admin/models"
COLUMNS = ("MODEL", "STATE", "RESIDENCY", "WAITING", "RUNNING", "WORKERS")
EXAMPLES = """\
examples:
  sightline models list
  sightline models add examples/models/catalogue.toml --model Qwen/Qwen3-VL-4B-Instruct
  sightline models pause Qwen/Qwen3-VL-4B-Instruct
  sightline models resume Qwen/Qwen3-VL-4B-Instruct --url http://10.0.0.5:8000
  sightline models drain Qwen/Qwen3-VL-4B-Instruct     until `list` says drained
  sightline models unload Qwen/Qwen3-VL-4B-Instruct    until a request asks for it
  sightline models remove Qwen/Qwen3-VL-4B-Instruct

A paused model accepts jobs and starts none; running ones finish, and synchronous calls get 503
model_paused. A drained one accepts no new jobs, and queued ones continue; resume undoes both. A removed
model's queued jobs fail with model_removed. All of this survives restarts (docs/models.md).
"""
Model = Annotated[str, Argument(help="the model's id")]
app = commands("List, add, pause, resume, drain, unload and remove models.", EXAMPLES)


@app.command("list")
def _list(url: Url = None, as_json: Json = False) -> None:
    """List the served models and their state."""
    show(called(url, "GET", "/v1/admin/fleet"), as_json, show_fleet)


@app.command("add")
def _add(
    file: Annotated[Path, Argument(parser=Path, help="a file with tables like those of models.toml")],
    model: Annotated[str | None, Option(help="only the one with this id")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Serve the models of a file like models.toml too, or one of them. Idempotent."""
    for row in _rows(file, model):
        show(called(url, "POST", PATH, body=row), as_json, _show_added)


def _add_change(change: str, text: str) -> None:
    @app.command(change, help=text)
    def command(model: Model, url: Url = None, as_json: Json = False) -> None:
        name = segment(model, safe="/")
        called(url, "POST", f"{PATH}/{name}/{change}")
        status = called(url, "GET", f"/status/{name}")
        words = [state for state in ("paused", "draining") if status[state]] or ["not paused"]
        sentence = f"{plain(model)} is {' and '.join(words)}; waiting: {status['queued']}"
        show(status, as_json, lambda _: print(sentence))


_add_change("pause", "Start none of a model's jobs; running ones finish.")
_add_change("resume", "Undo pause and drain.")
_add_change("drain", "Accept no new jobs for a model; queued ones continue.")


@app.command("unload")
def _unload(model: Model, url: Url = None, as_json: Json = False) -> None:
    """Free the memory that a model takes, until a request asks for it; running jobs finish."""
    state = called(url, "POST", f"/v1/models/{segment(model, safe='/')}/unload")
    sentence = "is unloaded by its nodes when its running jobs have finished; the next request loads it again"
    show(state, as_json, lambda _: print(f"{plain(model)} {sentence}"))


@app.command("remove")
def _remove(model: Model, url: Url = None, as_json: Json = False) -> None:
    """Stop serving a model; queued jobs fail."""
    called(url, "DELETE", f"{PATH}/{segment(model, safe='/')}")
    sentence = f"{plain(model)} is removed; what waits for it fails with model_removed"
    show({"id": model, "removed": True}, as_json, lambda _: print(sentence))


def show_fleet(fleet: dict[str, Any]) -> None:
    show_table(COLUMNS, map(_row, fleet["models"]))
    for it in fleet["models"]:
        if it["state"] == "failed":
            print(plain(f"\n{it['model']} cannot be loaded: {it['reason']}"))


def _show_added(model: dict[str, Any]) -> None:
    print(f"{plain(model['id'])} is served as soon as a worker has loaded it (sightline run starts one)")


def _row(it: dict[str, Any]) -> tuple[str, ...]:
    waiting, workers = sum(it["queued"].values()), len(it["workers"])
    counts = (str(count) for count in (waiting, it["running"], workers))
    return it["model"], standing(it), residency(it["residency"]), *counts


def standing(it: dict[str, Any]) -> str:
    """Draining or paused, if an operator said so; else the workers' state."""
    if it["draining"]:
        done = "drained" if it["drained"] else "draining"
        return f"{done}, paused" if it["paused"] else done
    return "paused" if it["paused"] else str(it["state"])


def residency(it: dict[str, Any]) -> str:
    """Since when the model is loaded or not, how long until it is, and why it was unloaded."""
    about = it["state"] in ("loading", "cold") and f"about {span(it['estimated_time'])}"
    why = it["state"] != "failed" and it["reason"]
    facts = (it["since"] and f"since {moment(it['since'])}", about, why)
    words = ", ".join(fact for fact in facts if fact)
    return f"{it['state']} ({words})" if words else str(it["state"])


def _rows(file: Path, wanted: str | None) -> Iterator[dict[str, Any]]:
    try:
        models = load_models(file, wanted).rows
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    if not models:
        raise CommandError(Exit.USAGE, f"{file} has no model with the id {wanted}.")
    yield from (model.model_dump(mode="json", exclude_defaults=True) for model in models)
