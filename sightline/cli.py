"""The command line's parser and entry. A failure is one sentence and a documented exit code."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from sightline import keys, models, webhooks
from sightline.ask import PICTURE, Question, ask
from sightline.batches import add_batches
from sightline.commands import add_service
from sightline.doctor.command import add_doctor
from sightline.estimate import add_estimate
from sightline.exits import MEANINGS, CommandError, Exit
from sightline.job_commands import add_jobs
from sightline.serving.folder import typed_path
from sightline.serving.processes import become_api, become_courier, become_worker
from sightline.serving.run import run
from sightline.serving.service import client_of
from sightline.terminal import show_json, show_piece
from sightline.versions import versions

EXAMPLES = """\
examples:
  sightline run                                    start everything, ask a first question, serve on port 8000
  sightline ask "How many shapes are there?" --picture examples/sample.png
  sightline ask "What does the sign say?" --picture https://example.com/street.jpg --json
  sightline jobs list --status failed              the last jobs that failed
  sightline jobs follow job_5f0c…                  print a job's answer as it is generated
  sightline batches create questions.jsonl         run a file of requests within a day
  sightline models pause sightline/tiny            start none of a model's jobs for a while
  sightline keys create --name "Example Ltd"       create a customer's key; prints it once
  sightline webhooks create https://shop.example/  call a URL whenever a job or batch ends
  sightline doctor                                 diagnose this installation

`sightline COMMAND --help` explains one command. Settings are SIGHTLINE_… environment variables, listed
in docs/settings.md; the models are listed in models.toml. If the service requires API keys, commands send
the one in SIGHTLINE_API_KEY.
"""
ENDED = """\
  130  Ctrl-C; for run, worker and courier 0
  141  the reader of the output has gone"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    arguments = parser().parse_args(argv)
    try:
        code = int(arguments.command(arguments))
        sys.stdout.flush()
        return code
    except CommandError as failure:
        print(f"sightline: {failure}", file=sys.stderr)
        return int(failure.code)
    except UnicodeEncodeError as error:
        # Bytes of an argument that are not UTF-8 become such surrogates, which cannot be sent.
        if not "\udc80" <= error.object[error.start] <= "\udcff":
            raise
        print("sightline: An argument is not written in UTF-8.", file=sys.stderr)
        return int(Exit.USAGE)
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as failure:
        name, why = failure.filename or "Standard output", failure.strerror or failure
        print(f"sightline: {name}: {why}.", file=sys.stderr)
        _drop_output()
        return int(Exit.USAGE)


def _drop_output() -> None:
    """The reader (head, less) has gone, or the disk is full: flushing at exit must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """All commands with their help."""
    codes = "\n".join(f"  {code:d}  {MEANINGS[code]}" for code in Exit)
    top = argparse.ArgumentParser(
        prog="sightline",
        description="Ask vision-language models about pictures, through a job queue.",
        epilog=f"{EXAMPLES}\nexit codes (make run ends with 2 for all but 0):\n{codes}\n{ENDED}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action=ShowVersions, nargs=0, help="print versions and device, and exit")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="start the whole service on this machine", **RUN))
    _add_ask(commands.add_parser("ask", help="ask a running service about a picture", **ASK))
    add_estimate(commands.add_parser("estimate", help="predict what a submit would do"))
    add_jobs(commands.add_parser("jobs", help="list, show, follow, cancel and retry jobs"))
    add_batches(commands.add_parser("batches", help="run a file of requests and download the answers"))
    models.add_models(commands.add_parser("models", help="list, add, pause, drain and remove models"))
    keys.add_keys(commands.add_parser("keys", help="manage API keys"))
    webhooks.add_webhooks(commands.add_parser("webhooks", help="manage webhooks and their deliveries"))
    add_doctor(commands.add_parser("doctor", help="diagnose this installation"))
    _add_api(commands.add_parser("api", help="run an API process", **API))
    for name, become, texts in (("worker", become_worker, WORKER), ("courier", become_courier, COURIER)):
        command = commands.add_parser(name, help=f"run a {name} process", **texts)
        command.set_defaults(command=lambda _, become=become: become())
    return top


class ShowVersions(argparse.Action):
    """Asks for the device only where it is to be printed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        print(*versions(), sep="\n")
        parser.exit()


class HelpTexts(TypedDict):
    """A command's help texts."""

    description: str
    epilog: str
    formatter_class: type[argparse.HelpFormatter]


def _texts(description: str, examples: str) -> HelpTexts:
    epilog = f"examples:\n{examples}\nexit codes are listed by `sightline --help`."
    return HelpTexts(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )


RUN = _texts(
    """\
Starts Valkey or Redis, the API, one worker per model and the courier; asks a sample
question; serves on loopback until Ctrl-C. Accepted jobs are still there at the next start.
""",
    """\
  sightline run --port 8080
  sightline run --data /srv/sightline                           with its jobs and pictures there
  SIGHTLINE_FETCH__ALLOW=127.0.0.1 sightline run                with webhooks to this machine
""",
)
ASK = _texts(
    "Sends a question and a picture, and prints the answer as it is generated.",
    """\
  sightline ask "How many shapes are there?" --picture examples/sample.png
  sightline ask "What does the sign say?" --picture https://example.com/street.jpg --json
  sightline ask "What is it?" --picture a.jpg --url http://10.0.0.5:8000
""",
)
API = _texts(
    "One API process in the foreground, for containers and supervisors of your own (docs/fleet.md).",
    """\
  sightline api --port 8080
  sightline api --host 0.0.0.0          for other machines, with SIGHTLINE_API__ADMIN_KEY set
""",
)
WORKER = _texts(
    """\
The worker of one model, named by SIGHTLINE_WORKER__MODEL (default: the first of models.toml).
docs/fleet.md explains exit codes from 70.
""",
    """\
  SIGHTLINE_REDIS__URL=redis://10.0.0.5:6379/0 SIGHTLINE_WORKER__MODEL=sightline/tiny sightline worker
  CUDA_VISIBLE_DEVICES=1 sightline worker             on the second GPU
""",
)
COURIER = _texts(
    "A courier: fetches remote pictures, calls webhooks and maintains the queue (docs/fleet.md).",
    "  SIGHTLINE_REDIS__URL=redis://10.0.0.5:6379/0 sightline courier\n",
)


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--port", type=_port, default=8000, help="where the API listens (default: %(default)s)"
    )
    command.add_argument(
        "--data",
        type=typed_path,
        default=Path("data"),
        help="folder of jobs, pictures and logs (default: %(default)s)",
    )
    command.set_defaults(command=_run)


def _add_api(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; '' is all of them (default: %(default)s)"
    )
    command.add_argument("--port", type=_port, default=8000, help="port to listen on (default: %(default)s)")
    command.set_defaults(command=lambda arguments: become_api(arguments.host, arguments.port))


def _add_ask(command: argparse.ArgumentParser) -> None:
    command.add_argument("question", help="what to ask")
    command.add_argument("--picture", required=True, metavar="FILE|URL", help=PICTURE)
    command.add_argument("--model", help="id of the model (default: the first one served)")
    add_service(command)
    command.set_defaults(command=_ask)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


def _run(arguments: argparse.Namespace) -> Exit:
    return run(arguments.port, arguments.data)


def _ask(arguments: argparse.Namespace) -> Exit:
    question = Question(arguments.question, arguments.picture, arguments.model)
    emit: Callable[[str], object] = (lambda _: None) if arguments.json else show_piece
    with client_of(arguments.url) as client:
        answer = ask(client, question, emit)
    if arguments.json:
        show_json(dataclasses.asdict(answer))
    else:
        print()
    return Exit.OK
