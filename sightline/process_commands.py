"""`sightline run`, `api`, `worker` and `courier`: the service's processes in the foreground."""

from pathlib import Path
from typing import Annotated

from typer import Option

from sightline.commands import commands, examples
from sightline.exits import Exit
from sightline.serving.folder import typed_path
from sightline.serving.processes import become_api, become_courier, become_worker
from sightline.serving.run import run

Port = Annotated[int, Option(min=1, max=65535, help="where the API listens")]
app = commands()


@app.command(
    "run",
    epilog=examples(
        "sightline run --port 8080",
        "sightline run --data /srv/sightline              with its jobs and pictures there",
        "SIGHTLINE_FETCH__ALLOW=127.0.0.1 sightline run   with webhooks to this machine",
    ),
)
def _run(
    port: Port = 8000,
    data: Annotated[Path, Option(parser=typed_path, help="folder of jobs, pictures and logs")] = Path("data"),
) -> Exit:
    """Start Valkey or Redis, the API, one worker per model and the courier.

    Asks a sample question, and serves on loopback until Ctrl-C. Accepted jobs are still there at the next
    start.
    """
    return run(port, data)


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
