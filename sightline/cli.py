"""The command line's entry. A failure is one sentence and a documented exit code."""

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from shared import VERSION
from sightline.commands import LAYOUT, epilog, examples, filled
from sightline.exits import MEANINGS, CommandError, Exit
from sightline.terminal import note

NAME = "sightline"
COMMANDS = {
    "run": ("process_commands", "start the whole service on this machine"),
    "ask": ("ask", "ask a running service, about pictures, documents, videos"),
    "map": ("mapping.command", "ask about every row of a folder or table, through any kill"),
    "jobs": ("jobs", "list, show, follow, cancel, retry and redeliver jobs"),
    "models": ("models", "list, add, pause, drain and remove models"),
    "keys": ("keys", "manage API keys and their webhooks"),
    "store": ("store", "give stored pictures to another record store"),
    "doctor": ("doctor.command", "diagnose this installation"),
    "api": ("process_commands", "run an API process"),
    "node": ("process_commands", "serve models on this machine's devices"),
    "worker": ("process_commands", "run a worker process"),
    "courier": ("process_commands", "run a courier process"),
}
"""The module with each command's `app`, and what it is for."""
EXAMPLES = """\
examples:
  sightline run                                    serve the models of models.toml on port 8000
  sightline run Qwen/Qwen3-VL-4B-Instruct          serve a model of the Hugging Face hub
  sightline ask "How many shapes are there?" examples/sample.png
  sightline ask "What does it cost?" contract.pdf --per-page
  sightline map "What is in it?" --input photos/ --output answers.jsonl
  sightline jobs list --status failed              the last jobs that failed
  sightline jobs follow job_5f0c...                print a job's answer as it is generated
  sightline models pause sightline/tiny            start none of a model's jobs for a while
  sightline keys create --name "Example Ltd"       create a customer's key; prints it once
  sightline doctor                                 diagnose this installation

`sightline COMMAND --help` explains one command. Settings are SIGHTLINE_* environment variables, listed
in docs/settings.md; the models are listed in models.toml. If the service requires API keys, commands send
the one in SIGHTLINE_API_KEY. They call the service that `sightline run` started here, or the one that
SIGHTLINE_URL or --url names.

exit codes (make run ends with 2 for all but 0):
"""
CODES = "\n".join(
    [
        *(f"  {code:d}  {MEANINGS[code]}" for code in Exit),
        "  130  Ctrl-C; for run, worker and courier 0",
        "  141  the reader of the output has gone",
    ]
)


class Commands(TyperGroup):
    """Imports a command's module only when it is typed: help and completion are there at once."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and _imported(str(name)), rest


def _imported(name: str) -> Any:
    group = get_group(import_module(f"sightline.{COMMANDS[name][0]}").app)
    for action, command in group.commands.items():
        command.help = filled(command.help or "")
        lines = (group.epilog or "").splitlines()
        if own := [line.strip() for line in lines if f" {name} {action} " in f"{line} "]:
            command.epilog = examples(*own)
    return group.commands.get(name, group)


def _show_versions(wanted: bool) -> None:
    if wanted:
        print(*versions(), sep="\n")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    help="Ask vision-language models about pictures, through a job queue.",
    epilog=epilog(EXAMPLES + CODES),
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="COMMAND",
    rich_markup_mode=LAYOUT,
)


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_versions, help="print versions, and exit"),
    ] = False,
) -> None:
    """Nothing is common to all commands."""


for _name, (_, _text) in COMMANDS.items():
    app.command(_name, help=_text)(lambda: None)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    command = get_command(app)
    if f"_{NAME.upper()}_COMPLETE" in os.environ:
        command.main(prog_name=NAME)
    try:
        with command.make_context(NAME, list(sys.argv[1:] if argv is None else argv)) as context:
            code = int(command.invoke(context) or Exit.OK)
        sys.stdout.flush()
        return code
    except typer.Exit as ended:
        return ended.exit_code
    except (typer.TyperException, CommandError, UnicodeEncodeError, OSError) as failure:
        return _failed(failure)


def _failed(failure: Exception) -> int:
    """One sentence and the code, after whatever went wrong."""
    match failure:
        case BrokenPipeError():
            _drop_output()
            return 141
        case CommandError():
            code, sentence = failure.code, str(failure)
        case typer.TyperException():
            code, sentence = Exit.USAGE, _usage(failure)
        # Bytes of an argument that are not UTF-8 become such surrogates, which cannot be sent.
        case UnicodeEncodeError() if "\udc80" <= failure.object[failure.start] <= "\udcff":
            code, sentence = Exit.USAGE, "An argument is not written in UTF-8."
        case OSError():
            name, why = failure.filename or "Standard output", failure.strerror or failure
            code, sentence = Exit.USAGE, f"{name}: {why}."
            _drop_output()
        case _:
            raise failure
    note(sentence, "red")
    return int(code)


def _usage(failure: typer.TyperException) -> str:
    context = getattr(failure, "ctx", None)
    path = context.command_path if context else NAME
    return f"{failure.format_message().rstrip('.')} (see `{path} --help`)"


def _drop_output() -> None:
    """The reader (head, less) has gone, or the disk is full: flushing at exit must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


PACKAGES = ("torch", "transformers", "vllm")


def versions() -> Iterator[str]:
    """Return a line for each part that is installed."""
    yield f"sightline {VERSION}"
    yield f"python {platform.python_version()}"
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"
