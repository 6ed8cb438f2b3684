"""`sightline ask`: a question about pictures or other media, or a conversation, printed as it comes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from typing import Annotated

from typer import Argument, Option

from sightline.chat import Chat, medium_url
from sightline.commands import Json, MaxTokens, Model, Pictures, Url, commands, examples
from sightline.exits import CommandError, Exit
from sightline.progress import PlaceBar
from sightline.service_client import client_of
from sightline.terminal import note, show_json

HELP = (
    "/picture FILE|URL adds a picture to the next question, /picture alone drops those that were added; "
    "Ctrl-C stops an answer, Ctrl-D ends"
)
NO_QUESTION = 'There is no question: type one, as in sightline ask "What is this?", or pipe it in.'
app = commands()


@app.command(
    "ask",
    epilog=examples(
        'sightline ask "How many shapes are there?" --picture examples/sample.png',
        'sightline ask "What has changed?" --picture before.jpg --picture https://example.com/after.jpg',
        'sightline ask "What does the contract cost?" contract.pdf',
        "sightline ask --picture street.jpg              a conversation",
        'echo "What is a job?" | sightline ask --json',
        'sightline ask "What is it?" --picture a.jpg --url http://10.0.0.5:8000',
    ),
)
def _ask(
    question: Annotated[str | None, Argument(help="what to ask", show_default=False)] = None,
    files: Annotated[
        list[str] | None, Argument(metavar="[FILE|URL]...", help="as --picture", show_default=False)
    ] = None,
    picture: Pictures = None,
    model: Model = None,
    max_tokens: MaxTokens = None,
    interactive: Annotated[
        bool, Option("--interactive", "-i", help="go on with follow-up questions, one a line")
    ] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Ask a question, about pictures, documents, sounds, videos or without, and print the answer as it comes.

    Without a question a conversation starts, where each question is sent with all before it. If standard
    input is no terminal, it is read as the question.
    """
    if question is None and not (interactive or sys.stdin.isatty()):
        question = _read(sys.stdin.read).strip()
        if not question:
            raise CommandError(Exit.USAGE, NO_QUESTION)
    with client_of(url) as client:
        chat = Chat(
            client, model, max_tokens, [medium_url(name) for name in (*(picture or ()), *(files or ()))]
        )
        if interactive or question is None:
            _converse(chat, question, as_json=as_json)
        else:
            _show_answer(chat, question, as_json=as_json)


def _show_answer(chat: Chat, question: str, *, as_json: bool) -> None:
    with PlaceBar("waiting") as bar:
        try:
            answer = chat.ask(question, (lambda _: None) if as_json else bar.emit, bar.show_place)
        finally:
            if bar.begun:
                print()
    if as_json:
        show_json(asdict(answer))


def _converse(chat: Chat, question: str | None, *, as_json: bool) -> None:
    """Answer line by line until the input ends. A person may go on after a failure, a script does not."""
    typed = sys.stdin.isatty()
    if typed:
        note(HELP)
    for line in chain([question] if question else [], _lines(chat)):
        try:
            _answer_line(chat, line, as_json=as_json)
        except KeyboardInterrupt:
            if not typed:
                raise
            note("stopped")
        except CommandError as error:
            if not typed:
                raise
            note(str(error), "red")


def _answer_line(chat: Chat, line: str, *, as_json: bool) -> None:
    match line.split(maxsplit=1):
        case []:
            pass
        case ["/picture"]:
            chat.pictures = []
        case ["/picture", name]:
            # A terminal quotes the name of a file that is dropped on it.
            chat.pictures.append(medium_url(name.strip().strip("'\"")))
        case [word, *_] if word.startswith("/"):
            note(HELP)
        case _:
            _show_answer(chat, line, as_json=as_json)


def _lines(chat: Chat) -> Iterator[str]:
    """What is typed or piped; the prompt says how many pictures the next question has."""
    with suppress(ImportError):
        # For `input`: lines can be edited, and earlier ones called back.
        import readline  # noqa: F401
    while True:
        count = len(chat.pictures)
        prompt = f"[{count} picture{'s' * (count > 1)}] > " if count else "> "
        try:
            line = _read(_typed, prompt)
        except (EOFError, KeyboardInterrupt) as end:
            if sys.stdin.isatty():
                # The shell's own prompt begins a line.
                print(file=sys.stderr)
            if isinstance(end, KeyboardInterrupt):
                raise
            return
        if line.strip() == "/quit":
            return
        yield line


def _typed(prompt: str) -> str:
    """One line; the prompt is for a person, and not for the output of a script."""
    if not sys.stdin.isatty():
        return input()
    if sys.stdout.isatty():
        return input(prompt)
    print(prompt, end="", file=sys.stderr, flush=True)
    return input()


def _read(read: Callable[..., str], *prompt: str) -> str:
    try:
        return read(*prompt)
    except UnicodeDecodeError:
        raise CommandError(Exit.USAGE, "Standard input is not written in UTF-8.") from None
