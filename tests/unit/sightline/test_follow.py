"""`sightline jobs follow` over broken connections: one unbroken text, and no clean end before the job's."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from sightline.exits import CommandError, Exit
from sightline.follow import MOST_MISSES, Reader, follow
from tests.support.jobs import FIRST, SUCCEEDED

STREAM = {"content-type": "text/event-stream; charset=utf-8"}
ENDED = {**SUCCEEDED, "id": FIRST}
STORY = [
    ("queued", {}),
    ("running", {"attempt": 1}),
    ("text", {"start": 0, "text": "A "}),
    ("requeued", {"reason": "worker_lost"}),
    ("running", {"attempt": 2}),
    ("text", {"start": 2, "text": "cat."}),
    ("succeeded", {"job": ENDED}),
]
LAST = len(STORY)

Handler = Callable[[httpx.Request], httpx.Response]


class Broken(httpx.SyncByteStream):
    """What came, and then the connection is gone."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body
        raise httpx.RemoteProtocolError("peer closed connection")


def block(at: int) -> str:
    name, data = STORY[at - 1]
    return f"id: {at}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


def told(after: int, upto: int = LAST) -> str:
    return ": queued: busy, 3 ahead\n\n" + "".join(block(at) for at in range(after + 1, upto + 1))


def seen_by(request: httpx.Request) -> int:
    return int(request.headers["last-event-id"])


def following(handler: Handler) -> tuple[Any, str, list[str], list[float]]:
    """The job, what was printed and noted, and the pauses between connections."""
    printed: list[str] = []
    noted: list[str] = []
    pauses: list[float] = []
    with httpx.Client(base_url="http://service", transport=httpx.MockTransport(handler)) as client:
        job = follow(Reader(client, FIRST, pauses.append), printed.append, noted.append)
    return job, "".join(printed), noted, pauses


def test_several_answers_are_told_one_after_the_other() -> None:
    answers = [{"text": "A cat."}, {"text": "A dog."}]
    job = {**ENDED, "result": {"choices": answers}}
    pieces = [(0, 0, "A "), (1, 0, "A dog"), (0, 2, "cat.")]
    story = [("text", {"choice": c, "start": at, "text": text}) for c, at, text in pieces]
    body = "".join(
        f"id: {n}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
        for n, (name, data) in enumerate([*story, ("succeeded", {"job": job})], start=1)
    )
    _, text, _, _ = following(lambda _: httpx.Response(200, headers=STREAM, text=body))

    assert text == "A cat.\n\nA dog."


def test_the_text_is_whole_and_the_job_is_returned() -> None:
    job, text, noted, _ = following(lambda r: httpx.Response(200, headers=STREAM, text=told(seen_by(r))))

    assert (job, text) == (ENDED, "A cat.")
    assert noted == ["queued: busy, 3 ahead", "waits for its next attempt: worker_lost"]


@pytest.mark.parametrize("upto", range(LAST))
@pytest.mark.parametrize("cut", ["clean", "in an event", "reset"])
def test_a_reader_whose_connection_breaks_anywhere_reads_one_unbroken_text(upto: int, cut: str) -> None:
    asked: list[int] = []

    def service(request: httpx.Request) -> httpx.Response:
        asked.append(seen_by(request))
        if len(asked) > 1:
            return httpx.Response(200, headers=STREAM, text=told(seen_by(request)))
        body = told(0, upto) + (block(upto + 1)[:-2] if cut == "in an event" else "")
        if cut == "reset":
            return httpx.Response(200, headers=STREAM, stream=Broken(body.encode()))
        return httpx.Response(200, headers=STREAM, text=body)

    job, text, _, pauses = following(service)

    assert (job["status"], text) == ("succeeded", "A cat.")
    assert (asked, pauses) == ([0, upto], [1.0])


def test_a_service_that_starts_again_a_used_up_key_or_a_proxy_s_page_is_waited_out() -> None:
    broken = 'event: error\ndata: {"error": {"message": "It broke off.", "code": "stream_broken"}}\n\n'
    answers = [
        httpx.Response(200, headers=STREAM, text=told(0, 3)),
        None,
        None,
        httpx.Response(503, json={"detail": "The record store is out of reach."}),
        httpx.Response(429, json={"detail": "This API key may make 2 requests a minute."}),
        httpx.Response(200, headers={"content-type": "text/html"}, text="<html>Back soon.</html>"),
        httpx.Response(200, headers=STREAM, text=broken),
        httpx.Response(200, headers=STREAM, text=told(3)),
    ]
    job, text, _, pauses = following(lambda request: answers.pop(0) or _refused(request))

    assert (job["status"], text) == ("succeeded", "A cat.")
    assert pauses == [1, 2, 4, 8, 10, 10, 10]


def test_a_line_that_only_waits_is_not_given_up_however_often_a_proxy_cuts_it() -> None:
    answers = [*[": queued: busy, 3 ahead\n\n"] * 3 * MOST_MISSES, told(0)]
    assert following(lambda _: httpx.Response(200, headers=STREAM, text=answers.pop(0)))[1] == "A cat."


def test_a_service_that_never_comes_back_ends_the_command_and_not_cleanly() -> None:
    asked: list[int] = []

    def service(request: httpx.Request) -> httpx.Response:
        asked.append(seen_by(request))
        return _refused(request) if len(asked) > 1 else httpx.Response(200, headers=STREAM, text=told(0, 3))

    with pytest.raises(CommandError, match="Connection refused") as gave_up:
        following(service)

    assert gave_up.value.code is Exit.UNREACHABLE
    assert asked == [0, *[3] * MOST_MISSES]


def _refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused", request=request)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (_refused, Exit.UNREACHABLE, "is it running"),
        (
            lambda _: httpx.Response(404, json={"detail": "There is no such job."}),
            Exit.REFUSED,
            "no such job",
        ),
        (lambda _: httpx.Response(503, json={"detail": "Out of reach."}), Exit.REFUSED, "Out of reach"),
        (lambda _: httpx.Response(200, text="<html>"), Exit.UNREACHABLE, "did not answer as this service"),
    ],
)
def test_what_is_wrong_from_the_start_is_said_at_once(answer: Handler, code: Exit, words: str) -> None:
    asked: list[httpx.Request] = []

    def service(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer(request)

    with pytest.raises(CommandError, match=words) as failed:
        following(service)

    assert (failed.value.code, len(asked)) == (code, 1)


def test_a_job_that_is_forgotten_meanwhile_ends_the_command() -> None:
    gone = httpx.Response(404, json={"detail": "There is no such job."})
    answers = [httpx.Response(200, headers=STREAM, text=told(0, 3)), gone]
    with pytest.raises(CommandError, match="no such job") as failed:
        following(lambda _: answers.pop(0))

    assert failed.value.code is Exit.REFUSED


def test_an_answer_that_was_never_told_in_pieces_is_printed_at_its_end() -> None:
    text = ": waiting\n\n" + block(1) + block(LAST)
    assert following(lambda _: httpx.Response(200, headers=STREAM, text=text))[1] == "A cat."
