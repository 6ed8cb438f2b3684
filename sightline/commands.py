"""Shared parts of the commands: the layout of their help, and the options of those that call a service."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from sightline.terminal import is_terminal

# A person reads help in colour and boxes, a script and a pager plain text.
LAYOUT: Literal["rich"] | None = "rich" if is_terminal(sys.stdout) else None
CODES = "Exit codes are listed by `sightline --help`."

# The name is CLIENT_URL of shared/settings, whose import takes longer than showing a help.
Url = Annotated[
    str | None,
    Option(envvar="SIGHTLINE_URL", help="the service (default: what runs here, else port 8000)"),
]
Json = Annotated[bool, Option("--json", help="print JSON, one value a line")]
Limit = Annotated[int, Option(min=1, max=100, help="how many")]
FileArguments = Annotated[
    list[str] | None,
    Argument(
        metavar="FILE|URL",
        help="pictures, PDFs, TIFFs, sounds, videos, or URLs that the service fetches",
        show_default=False,
    ),
]
Files = Annotated[
    list[str] | None,
    Option("--file", "--picture", metavar="FILE|URL", help="the same as an option; may be repeated"),
]
MaxTokens = Annotated[int | None, Option(min=-1, help="maximum length of the answer; -1 = what fits")]
Wait = Annotated[bool, Option("--wait", help="wait also while the model is paused")]
Model = Annotated[str | None, Option(help="id of the model (default: the first one served)")]


def typed_path(text: str) -> Path:
    """A folder as a person types it, with `~` expanded: not every shell expands it after `DATA=`."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - what nobody's home is stays as it is, as in a shell


def commands(description: str | None = None, closing: str | None = None) -> typer.Typer:
    """A group of commands, or a place for some that stand alone; `closing` ends its help."""
    return typer.Typer(
        help=description,
        epilog=closing and epilog(closing),
        subcommand_metavar="ACTION",
        rich_markup_mode=LAYOUT,
        add_completion=False,
    )


def filled(text: str) -> str:
    """Paragraphs on one line each, but for lines that are indented: Typer keeps a text's own line ends."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", text)


def epilog(text: str) -> str:
    """Plain help fills paragraphs anew that are not marked as examples are."""
    paragraphs = filled(text).split("\n\n")
    return "\n\n".join(f"\b\n{it}" if "\n  " in it and not LAYOUT else it for it in paragraphs)


def examples(*lines: str) -> str:
    """The end of one command's help."""
    return epilog("\n".join(["examples:", *(f"  {line}" for line in lines), "", CODES]))
