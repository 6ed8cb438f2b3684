"""Shared parts of the commands that call a running service."""

import argparse
from collections.abc import Callable

import httpx

from sightline.exits import Exit
from sightline.serving.service import client_of

Action = Callable[[httpx.Client, argparse.Namespace], Exit]


def add_service(command: argparse.ArgumentParser) -> None:
    """Add `--url` and `--json`, which every command that calls the service has."""
    command.add_argument("--url", default="http://127.0.0.1:8000", help="the service (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print JSON, one value a line")


def add_actions(
    command: argparse.ArgumentParser, description: str, examples: str
) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    command.description = description
    command.epilog = examples
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    return command.add_subparsers(title="actions", required=True, metavar="ACTION")


def set_action(action: argparse.ArgumentParser, act: Action) -> None:
    add_service(action)

    def command(arguments: argparse.Namespace) -> Exit:
        with client_of(arguments.url) as client:
            return act(client, arguments)

    action.set_defaults(command=command)


def page_size(text: str) -> int:
    """Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100")
    return int(text)
