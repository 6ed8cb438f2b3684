"""`sightline run`, `api`, `worker` and `courier`: the service's processes in the foreground."""

import os
from pathlib import Path
from typing import Annotated, NoReturn

from typer import Argument, Option

from shared.errors import CallerError, Unavailable
from shared.models_file import load_models
from shared.registry import model_of_worker
from shared.settings import SettingsError
from shared.stopping import hold_stops
from sightline.commands import commands, examples, typed_path
from sightline.exits import CommandError, Exit
from sightline.model_setup.argument import ModelArgument
from sightline.model_setup.choice import Engine
from sightline.serving import processes
from sightline.serving.interpreter import PYTHON, with_our_packages
from sightline.serving.run import run, run_node
from sightline.tls import check_tls

MODEL = "a hub id, a folder, or an id of models.toml; without it all models of models.toml are served"
WORKERS = "worker processes of each model (default: one, or one for each GPU where MODEL is named)"
Port = Annotated[int, Option(min=1, max=65535, help="where the API listens")]
app = commands()


@app.command(
    "run",
    epilog=examples(
        "sightline run Qwen/Qwen3-VL-4B-Instruct           a model of the Hugging Face hub",
        "sightline run /models/my-vlm --workers 2          a folder, with two workers",
        "sightline run --port 8080                         the models of models.toml",
        "sightline run --data /srv/sightline              with its jobs and pictures there",
        "SIGHTLINE_FETCH__ALLOW=127.0.0.1 sightline run   with webhooks to this machine",
    ),
)
def _run(
    model: Annotated[str | None, Argument(help=MODEL)] = None,
    engine: Annotated[Engine | None, Option(help="in place of the one that is chosen for MODEL")] = None,
    workers: Annotated[int | None, Option(min=1, max=64, help=WORKERS)] = None,
    port: Port = 8000,
    data: Annotated[Path, Option(parser=typed_path, help="folder of jobs, pictures and logs")] = Path("data"),
) -> Exit:
    """Start Valkey or Redis, the API, the workers of each model and the courier.

    For MODEL it looks at the device and its memory, chooses number format, engine and rows, says why, and
    fetches what is missing. Then it asks a sample question, and serves on loopback until Ctrl-C. Accepted
    jobs are still there at the next start.
    """
    if engine and not model:
        raise CommandError(Exit.USAGE, "--engine is for a MODEL; in models.toml each table names its own.")
    return run(port, data, ModelArgument(model, engine, workers))


@app.command(
    "api",
    epilog=examples(
        "sightline api --port 8080",
        "sightline api --host 0.0.0.0   for other machines, with SIGHTLINE_API__ADMIN_KEY set",
    ),
)
def _api(
    host: Annotated[str, Option(help="address to listen on; '' is all of them")] = "127.0.0.1",
    port: Port = 8000,
) -> None:
    """Run one API process, for containers and supervisors of your own (docs/fleet.md)."""
    settings = processes.settings_of_process()
    check_tls(settings.api)
    try:
        # Read here for its errors: uvicorn would print a traceback, and exit as if its port were taken.
        load_models(settings.models_file)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    _become(processes.api(settings, host, port))


@app.command(
    "node",
    epilog=examples(
        "SIGHTLINE_REDIS__URL=redis://10.0.0.5:6379/0 sightline node",
        "CUDA_VISIBLE_DEVICES=0,1 sightline node             with two of the GPUs",
        "SIGHTLINE_NODE__MEMORY_MB=60000 sightline node      and so much of each",
    ),
)
def _node() -> Exit:
    """Serve the models of models.toml, and those added through the service, on this machine's devices.

    It loads what is asked for, and unloads what must make room for it (docs/fleet.md).
    """
    return run_node()


@app.command(
    "worker",
    epilog=examples(
        "SIGHTLINE_REDIS__URL=redis://10.0.0.5/0 SIGHTLINE_WORKER__MODEL=sightline/tiny sightline worker",
        "CUDA_VISIBLE_DEVICES=1 sightline worker   on the second GPU",
    ),
)
def _worker() -> None:
    """Run the worker of one model, named by SIGHTLINE_WORKER__MODEL (default: the first of models.toml).

    docs/fleet.md explains exit codes from 70.
    """
    settings = processes.settings_of_process()
    try:
        model, _ = model_of_worker(settings)
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    except CallerError as error:
        raise CommandError(Exit.USAGE, f"SIGHTLINE_WORKER__MODEL: {error.message}") from None
    except Unavailable as error:
        message = "No models file has this model, and added ones are read from SIGHTLINE_REDIS__URL"
        raise CommandError(Exit.REDIS, f"{message}: {error.message}") from None
    hold_stops()
    _become(processes.worker(settings, model))


@app.command("courier", epilog=examples("SIGHTLINE_REDIS__URL=redis://10.0.0.5:6379/0 sightline courier"))
def _courier() -> None:
    """Run a courier: it fetches remote pictures, calls webhooks and maintains the queue (docs/fleet.md)."""
    process = processes.courier(processes.settings_of_process())
    hold_stops()
    _become(process)


def _become(process: processes.Process) -> NoReturn:
    processes.allow_files()
    env = with_our_packages(os.environ | dict(process.env))
    os.execve(PYTHON[0], (*PYTHON, "-m", *process.argv), env)  # noqa: S606
