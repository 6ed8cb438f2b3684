"""`sightline ask`: one question about files; the answer is printed as it comes."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import httpx
from typer import Argument, Option

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
from sightline.question import Question, first_model, part_of
from sightline.service_client import check, client_of, fetched, parsed, speaking
from sightline.terminal import show_json

FILES = "/v1/files"
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
    wait: Wait = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Ask a question, about pictures, documents, sounds, videos or without, and print the answer as it comes.

    Without a question, standard input is read as the question. A document's pages are asked about together;
    if they do not fit, the command says what to type. `sightline map` asks about each page of many documents.
    """
    text = _piped_question() if question is None else question
    if _is_file(text):
        advice = f'sightline ask "What is this?" {text}'
        raise CommandError(Exit.USAGE, f"{text} is a file, and the question comes first: {advice}")
    names = [*(files or ()), *(file or ())]
    media = [part_of(name, pages) for name in names]
    if pages is not None and all(part["type"] != "document" for part in media):
        raise CommandError(Exit.USAGE, "--pages is for documents: name a PDF or TIFF.")
    with client_of(url) as client:
        request = Question(client, text, model, max_tokens, media, patient=wait)
        if per_page:
            _ask_each_page(request, names, pages, as_json=as_json)
        else:
            _show_answer(request, as_json=as_json)


def _show_answer(question: Question, *, as_json: bool) -> None:
    with PlaceBar("waiting") as bar:
        try:
            answer = question.ask((lambda _: None) if as_json else bar.emit, bar.tell)
        finally:
            if bar.begun:
                print()
    if as_json:
        show_json(asdict(answer))


def _piped_question() -> str:
    """Return the question on standard input. Raise CommandError if there is none, or if nothing is piped."""
    try:
        question = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    except UnicodeDecodeError:
        raise CommandError(Exit.USAGE, "Standard input is not written in UTF-8.") from None
    if not question:
        raise CommandError(Exit.USAGE, NO_QUESTION)
    return question


def _is_file(name: str) -> bool:
    """Take any text: a long question would be an error of Path.is_file."""
    return os.path.isfile(typed_path(name))  # noqa: PTH113


def _ask_each_page(question: Question, names: list[str], pages: str | None, *, as_json: bool) -> None:
    """Submit one job, and print its pages in order as they end. Raises CommandError."""
    kinds = [part["type"] for part in question.media]
    if kinds != ["document"] or not _is_file(names[0]):
        raise CommandError(
            Exit.USAGE,
            "--per-page is for a question about one PDF or TIFF of this machine, `sightline map` for more.",
        )
    client = question.client
    with speaking(client):
        model = question.model or first_model(client)
    check_paused(client, model, wait=question.patient)
    file = _uploaded(client, typed_path(names[0]))
    body = {
        "model": model,
        "input": {"prompt": question.text},
        "parameters": {"max_new_tokens": question.max_tokens},
        "document": {"file": file, "per": "page", "pages": pages},
    }
    try:
        job = str(fetched(client, "POST", PATH, body=body)["id"])
    finally:
        # The job keeps what it reads.
        fetched(client, "DELETE", f"{FILES}/{file}")
    try:
        show_followed(client, job, as_json=as_json)
    except KeyboardInterrupt:
        fetched(client, "POST", f"{path_of(job)}/cancel")
        raise


def _uploaded(client: httpx.Client, path: Path) -> str:
    """Upload a file and return its id. Raises CommandError."""
    # A file's name may hold any bytes.
    name = os.fsencode(path.name).decode(errors="replace")
    try:
        with path.open("rb") as file, speaking(client):
            reply = client.post(FILES, data={"purpose": "user_data"}, files={"file": (name, file)})
    except OSError as error:
        raise CommandError(Exit.USAGE, f"The file {path} cannot be read: {error.strerror}.") from None
    check(reply)
    return str(parsed(reply)["id"])
