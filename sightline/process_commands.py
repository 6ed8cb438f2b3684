"""`sightline run`, `api`, `worker` and `courier`: the service's processes in the foreground."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from sightline.commands import commands, examples, typed_path
from sightline.exits import CommandError, Exit
from sightline.serving.model_argument import ModelArgument
from sightline.serving.model_choice import Engine
from sightline.serving.processes import become_api, become_courier, become_worker
from sightline.serving.run import run, run_node

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
    become_api(host, port)


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
    become_worker()


@app.command("courier", epilog=examples("SIGHTLINE_REDIS__URL=redis://10.0.0.5:6379/0 sightline courier"))
def _courier() -> None:
    """Run a courier: it fetches remote pictures, calls webhooks and maintains the queue (docs/fleet.md)."""
    become_courier()
