"""`sightline ask`: a question about files, or a conversation, printed as it comes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from typing import Annotated

from typer import Argument, Option

from sightline.batches import FILES, uploaded
from sightline.chat import Chat, first_model, part_of
from sightline.commands import (
    FileArguments,
    Files,
    Json,
    MaxTokens,
    Model,
    Url,
    Wait,
    commands,
    examples,
    typed_path,
)
from sightline.exits import CommandError, Exit
from sightline.follow import PATH, check_paused, path_of
from sightline.jobs import show_followed
from sightline.progress import PlaceBar
from sightline.service_client import client_of, fetched, speaking
from sightline.terminal import note, show_json

HELP = (
    "/file FILE|URL adds a picture or document to the next question, /file alone drops what was added; "
    "Ctrl-C stops an answer, Ctrl-D ends"
)
NO_QUESTION = 'There is no question: type one, as in sightline ask "What is this?", or pipe it in.'
app = commands()


@app.command(
    "ask",
    epilog=examples(
        'sightline ask "How many shapes are there?" examples/sample.png',
        'sightline ask "What has changed?" before.jpg https://example.com/after.jpg',
        'sightline ask "What does it cost?" contract.pdf --pages 1-3',
        'sightline ask "Which sums are named?" book.pdf --per-page',
        'sightline ask "What happens?" street.mp4 --url http://10.0.0.5:8000',
        "sightline ask --file street.jpg                 a conversation",
        'echo "What is it?" | sightline ask --file street.jpg --json',
    ),
)
def _ask(
    question: Annotated[str | None, Argument(help="what to ask", show_default=False)] = None,
    files: FileArguments = None,
    file: Files = None,
    pages: Annotated[str | None, Option(metavar="1-3,7", help="only these pages of a document")] = None,
    per_page: Annotated[
        bool, Option("--per-page", help="ask about each page of a document by itself")
    ] = False,
    model: Model = None,
    max_tokens: MaxTokens = None,
    interactive: Annotated[
        bool, Option("--interactive", "-i", help="go on with follow-up questions, one a line")
    ] = False,
    wait: Wait = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Ask a question, about pictures, documents, sounds, videos or without, and print the answer as it comes.

    Without a question a conversation starts, where each question is sent with all before it. If standard
    input is no terminal, it is read as the question. A document's pages are asked about together: where they
    do not fit, it says what to type. Of many documents `sightline map` asks about each page.
    """
    if question is None and not (interactive or sys.stdin.isatty()):
        question = _read(sys.stdin.read).strip()
        if not question:
            raise CommandError(Exit.USAGE, NO_QUESTION)
    if question and _is_file(question):
        advice = (
            f'sightline ask "What is this?" {question}, or a conversation: sightline ask --file {question}'
        )
        raise CommandError(Exit.USAGE, f"{question} is a file, and the question comes first: {advice}")
    names = [*(files or ()), *(file or ())]
    media = [part_of(name, pages) for name in names]
    if pages is not None and all(part["type"] != "document" for part in media):
        raise CommandError(Exit.USAGE, "--pages is for documents: name a PDF or TIFF.")
    with client_of(url) as client:
        chat = Chat(client, model, max_tokens, media, patient=wait)
        if per_page:
            _ask_each_page(chat, question, names, pages, as_json=as_json)
        elif interactive or question is None:
            _converse(chat, question, as_json=as_json)
        else:
            _show_answer(chat, question, as_json=as_json)


def _show_answer(chat: Chat, question: str, *, as_json: bool) -> None:
    with PlaceBar("waiting") as bar:
        try:
            answer = chat.ask(question, (lambda _: None) if as_json else bar.emit, bar.tell)
        finally:
            if bar.begun:
                print()
    if as_json:
        show_json(asdict(answer))


def _is_file(name: str) -> bool:
    """Of any text: a long question would be an error of Path.is_file."""
    return os.path.isfile(typed_path(name))  # noqa: PTH113


def _ask_each_page(
    chat: Chat, question: str | None, names: list[str], pages: str | None, *, as_json: bool
) -> None:
    """One job, whose pages are printed in order as they end. Raises CommandError."""
    kinds = [part["type"] for part in chat.media]
    if question is None or kinds != ["document"] or not _is_file(names[0]):
        raise CommandError(
            Exit.USAGE,
            "--per-page is for a question about one PDF or TIFF of this machine, `sightline map` for more.",
        )
    with speaking(chat.client):
        model = chat.model or first_model(chat.client)
    check_paused(chat.client, model, wait=chat.patient)
    file = uploaded(chat.client, typed_path(names[0]), "user_data")
    body = {
        "model": model,
        "input": {"prompt": question},
        "parameters": {"max_new_tokens": chat.max_tokens},
        "document": {"file": file, "per": "page", "pages": pages},
    }
    try:
        job = str(fetched(chat.client, "POST", PATH, body=body)["id"])
    finally:
        # The job keeps what it reads.
        fetched(chat.client, "DELETE", f"{FILES}/{file}")
    try:
        show_followed(chat.client, job, as_json=as_json)
    except KeyboardInterrupt:
        fetched(chat.client, "POST", f"{path_of(job)}/cancel")
        raise


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
        case ["/file"]:
            chat.media = []
        case ["/file", name]:
            # A terminal quotes the name of a file that is dropped on it.
            chat.media.append(part_of(name.strip().strip("'\"")))
        case [word, *_] if word.startswith("/"):
            note(HELP)
        case _:
            _show_answer(chat, line, as_json=as_json)


def _lines(chat: Chat) -> Iterator[str]:
    """What is typed or piped; the prompt says how many files the next question has."""
    with suppress(ImportError):
        # For `input`: lines can be edited, and earlier ones called back.
        import readline  # noqa: F401
    while True:
        count = len(chat.media)
        prompt = f"[{count} file{'s' * (count > 1)}] > " if count else "> "
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
