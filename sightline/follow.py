"""`sightline jobs follow`: a job's events as they happen, across lost connections, to the job's end."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from shared.backoff import backoff_s
from shared.job import ENDED
from sightline.exits import CommandError, Exit
from sightline.service_client import check_stream, fetched, is_stream, passing, segment, unreachable

Job = dict[str, Any]
PATH = "/v1/jobs"
MOST_MISSES = 8
"""Connections in a row that brought nothing, after which it gives up: about a minute."""
LONGEST_PAUSE_S = 10.0
PATIENCE = "With --wait this command waits for that."


@dataclass(frozen=True)
class ServerSentEvent:
    """One event; an `error`, which tells that the stream cannot go on, has no id."""

    id: int
    name: str
    data: dict[str, Any]

    @property
    def last(self) -> bool:
        return self.name in ENDED


def server_sent_events(lines: Iterable[str]) -> Iterator[ServerSentEvent | str]:
    """Whole events, and comments as text. An event that breaks off in the middle is dropped."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            yield line[1:].strip()
        elif line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield ServerSentEvent(
                int(fields.get("id", 0)), fields.get("event", ""), json.loads(fields["data"])
            )
            fields = {}


def path_of(job: str) -> str:
    return f"{PATH}/{segment(job)}"


def check_paused(client: httpx.Client, model: str, *, wait: bool) -> None:
    """Raise CommandError if the model is paused, unless the command waits for that, too."""
    if not wait and fetched(client, "GET", f"/models/{segment(model, safe='/')}/info")["state"] == "paused":
        message = f"The model {model} is paused; `sightline models resume {model}` resumes it. {PATIENCE}"
        raise CommandError(Exit.REFUSED, message)


def texts(job: Job) -> list[str]:
    return [choice["text"] for choice in job["result"]["choices"]]


class ConnectionOverError(Exception):
    """This connection has ended before the job; the next one may bring the rest."""


@dataclass
class Reader:
    """Reads one job's events. `seen` is the id of the last event, after which the next connection goes on."""

    client: httpx.Client
    job: str
    pause: Callable[[float], object] = time.sleep
    seen: int = 0
    misses: int = 0
    met: bool = False

    def events(self) -> Iterator[ServerSentEvent | str]:
        """Each event once and in order, the terminal one last; comments as text.

        Raises CommandError where there is no such job, and where no service answers: the first time at once,
        later after MOST_MISSES tries.
        """
        while True:
            try:
                for event in self._connection():
                    yield event
                    if isinstance(event, ServerSentEvent) and event.last:
                        return
                raise ConnectionOverError("the connection ended")
            except httpx.InvalidURL as error:
                raise CommandError(Exit.USAGE, f"{self.client.base_url} is not a URL: {error}.") from None
            except httpx.TransportError as error:
                self._miss(unreachable(self.client, error))
            except ConnectionOverError as over:
                self._miss(f"The events of {self.job} broke off: {over}.")

    def _connection(self) -> Iterator[ServerSentEvent | str]:
        headers = {"last-event-id": str(self.seen)}
        with self.client.stream("GET", f"{path_of(self.job)}/events", headers=headers) as reply:
            if passing(reply) and self.met:
                raise ConnectionOverError(f"the service answered {reply.status_code}")
            if reply.is_success and not is_stream(reply) and self.met:
                raise ConnectionOverError("something else answered in the service's place")
            check_stream(reply)
            self.met = True
            for event in server_sent_events(reply.iter_lines()):
                if isinstance(event, ServerSentEvent):
                    if event.name == "error":
                        raise ConnectionOverError(_reason(event))
                    self.seen = event.id
                self.misses = 0
                yield event

    def _miss(self, sentence: str) -> None:
        self.misses += 1
        if not self.met or self.misses > MOST_MISSES:
            raise CommandError(Exit.UNREACHABLE, sentence)
        self.pause(backoff_s(self.misses, longest_s=LONGEST_PAUSE_S))


def follow(reader: Reader, emit: Callable[[str], object], note: Callable[[str], object]) -> Job:
    """The ended job. Pieces of its text go to `emit` as they come, other news of it to `note`.

    Of several answers the first is emitted as it is made, the others at the end: a terminal shows one text.

    Raises CommandError as `Reader.events`.
    """
    printed = 0
    job: Job = {}
    for event in reader.events():
        if isinstance(event, str):
            note(event)
        elif event.name == "text" and not event.data.get("choice"):
            emit(event.data["text"])
            printed += len(event.data["text"])
        elif event.name == "page":
            emit("\n\n" * bool(printed) + (page := _page(event.data["row"])))
            printed += len(page)
        elif event.name == "requeued":
            note(f"waits for its next attempt: {event.data['reason']}")
        elif event.last:
            job = event.data["job"]
    # An answer may end without having come in pieces.
    if "result" in job:
        first, *others = texts(job)
        emit("".join([first[printed:], *(f"\n\n{text}" for text in others)]))
    return job


def _page(row: dict[str, Any]) -> str:
    said = f"\n{row['text']}" if "text" in row else f" failed: {row['error']['message']}"
    return f"Page {row['page']}{said}"


def _reason(event: ServerSentEvent) -> str:
    return str(event.data.get("error", {}).get("message", "no reason given"))
