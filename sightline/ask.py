"""`sightline ask`: one question about one picture, the answer printed as it is made."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
from typer import Argument, Option

from sightline.commands import Json, Model, Url, commands, examples
from sightline.events import lines
from sightline.exits import CommandError, Exit
from sightline.progress import PlaceBar
from sightline.serving.service import check, check_stream, client_of, code, parsed, reason, speaking
from sightline.terminal import show_json

PICTURE = "a PNG, JPEG, WebP or GIF file, or a URL that the service fetches"
app = commands()


@app.command(
    "ask",
    epilog=examples(
        'sightline ask "How many shapes are there?" --picture examples/sample.png',
        'sightline ask "What does the sign say?" --picture https://example.com/street.jpg --json',
        'sightline ask "What is it?" --picture a.jpg --url http://10.0.0.5:8000',
    ),
)
def _ask(
    question: Annotated[str, Argument(help="what to ask")],
    picture: Annotated[str, Option(metavar="FILE|URL", help=PICTURE)],
    model: Model = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Send a question and a picture, and print the answer as it is generated."""
    with client_of(url) as client, PlaceBar("waiting") as bar:
        emit: Callable[[str], object] = (lambda _: None) if as_json else bar.emit
        answer = ask(client, Question(question, picture, model), emit, bar.show_place)
    if as_json:
        show_json(asdict(answer))
    else:
        print()


@dataclass(frozen=True)
class Question:
    """`picture` is a file, or an http(s) URL that the service fetches; `model` None: the first one served."""

    text: str
    picture: str
    model: str | None = None


@dataclass(frozen=True)
class Answer:
    """The whole answer; `cache` is the service's word for where it came from."""

    model: str
    text: str
    finish_reason: str | None
    cache: str | None
    job: str | None


def ask(
    client: httpx.Client,
    question: Question,
    emit: Callable[[str], object],
    wait: Callable[[str], object] = lambda _: None,
) -> Answer:
    """Ask and call `emit` with each piece of the answer, `wait` with each comment. Raises CommandError.

    Makes one request, which a key's quota counts; three where several models are served and none is named.
    """
    with speaking(client):
        with _posted(client, question, question.model) as reply:
            if question.model is not None or not _asks_for_a_model(reply):
                return _answer(reply, emit, wait)
        with _posted(client, question, first_model(client)) as reply:
            return _answer(reply, emit, wait)


def _posted(
    client: httpx.Client, question: Question, model: str | None
) -> AbstractContextManager[httpx.Response]:
    body = {"stream": True, "messages": [_message(question)]} | ({"model": model} if model else {})
    # A person at a terminal waits while the model is still loading.
    headers = {"x-wait-for-model": "true"}
    return client.stream("POST", "/v1/chat/completions", json=body, headers=headers)


def _asks_for_a_model(reply: httpx.Response) -> bool:
    """Whether the service refused because several models are served and none was named."""
    return reply.status_code == httpx.codes.NOT_FOUND and code(reply.read()) == "model_not_found"


def _answer(reply: httpx.Response, emit: Callable[[str], object], wait: Callable[[str], object]) -> Answer:
    check_stream(reply)
    model, text, finish = _read(_events(reply, wait), emit)
    return Answer(model, text, finish, reply.headers.get("x-cache"), reply.headers.get("x-job-id"))


def first_model(client: httpx.Client) -> str:
    """The first model served, for a question that names none. Raises CommandError."""
    reply = client.get("/v1/models")
    check(reply)
    served = parsed(reply)["data"]
    if not served:
        raise CommandError(Exit.REFUSED, "No model is served there: see `sightline models add --help`.")
    return str(served[0]["id"])


def _message(question: Question) -> dict[str, Any]:
    picture = {"type": "image_url", "image_url": {"url": picture_url(question.picture)}}
    return {"role": "user", "content": [picture, {"type": "text", "text": question.text}]}


def picture_url(picture: str) -> str:
    """A URL unchanged, a file as a data: URI. Raises CommandError."""
    if picture.startswith(("http://", "https://")):
        return picture
    try:
        data = Path(picture).read_bytes()
    except OSError as error:
        raise CommandError(Exit.USAGE, f"The picture {picture} cannot be read: {error.strerror}.") from None
    # The service tells a picture's kind by its bytes, whatever name it has.
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _read(events: Iterator[str], emit: Callable[[str], object]) -> tuple[str, str, str | None]:
    """The model, the text, why it ended. Only `[DONE]` is a clean end: a broken stream never looks whole."""
    pieces: list[str] = []
    model, finish = "", None
    for data in events:
        if data == "[DONE]":
            return model, "".join(pieces), finish
        chunk = json.loads(data)
        if "error" in chunk:
            raise CommandError(Exit.REFUSED, f"The answer broke off: {reason(data)}")
        model = chunk["model"]
        for choice in chunk["choices"]:
            piece = choice["delta"].get("content") or ""
            finish = choice.get("finish_reason") or finish
            pieces.append(piece)
            emit(piece)
    raise CommandError(Exit.UNREACHABLE, "The answer broke off: the connection ended before it was complete.")


def _events(reply: httpx.Response, wait: Callable[[str], object]) -> Iterator[str]:
    for line in lines(reply.iter_text()):
        if line.startswith(":"):
            wait(line[1:].strip())
        elif line.startswith("data:"):
            yield line[5:].strip()
