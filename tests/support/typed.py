"""The command line's grammar, without running what is typed."""

from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command

from sightline.cli import NAME, app


def parsed(argv: Sequence[str]) -> dict[str, Any]:
    """The options and arguments of the command that is typed. Raises TyperException where it is none."""
    context = get_command(app).make_context(NAME, list(argv))
    while isinstance(group := context.command, TyperGroup):
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(name, rest, parent=context)
    return dict(context.params)


def helps() -> Iterator[str]:
    """The help of each command and action."""
    yield from _helps(get_command(app).make_context(NAME, [], resilient_parsing=True))


def _helps(context: Any) -> Iterator[str]:
    yield context.get_help()
    if isinstance(group := context.command, TyperGroup):
        for name in group.list_commands(context):
            _, command, _ = group.resolve_command(context, [name])
            assert command is not None
            yield from _helps(command.make_context(name, [], parent=context, resilient_parsing=True))
