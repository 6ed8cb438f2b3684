"""Whatever file a stranger calls a document or a video, it is shown or refused, and nobody else notices."""

import base64
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from tests.safety.answers import LIMIT_S, Answer, Stranger
from tests.safety.case import ANY, BAD, Case
from tests.safety.conftest import ECHO, World
from tests.safety.documents import documents
from tests.safety.test_bodies import CHAT, all_wrong
from tests.safety.videos import videos

DOCUMENTS, VIDEOS = tuple(documents()), tuple(videos())
CODES = {
    "invalid_document",
    "invalid_video",
    "payload_too_large",
    # A file that is uploaded to be seen or heard is a picture where it is nothing else.
    "invalid_image",
    "context_length_exceeded",
}
Part = dict[str, Any]
Door = Callable[[Stranger, bytes], Answer]
TRIES = 5


def _asked(part: Part) -> list[Part]:
    return [{"role": "user", "content": [part, {"type": "text", "text": "what is it?"}]}]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _with_file(stranger: Stranger, data: bytes, purpose: str, ask: Callable[[str], Answer]) -> Answer:
    """What the file's id is asked for, or why it is not kept."""
    form = {"files": {"file": ("a", data)}, "data": {"purpose": purpose}}
    made = stranger.ask("POST", "/v1/files", **form)
    return made if made.code else ask(json.loads(made.text)["id"])


def _as_job(stranger: Stranger, part: Part) -> Answer:
    body = {"model": ECHO, "messages": _asked(part)}
    return stranger.ask("POST", "/v1/jobs", json=body, headers={"prefer": "wait=40"})


def _as_chat(stranger: Stranger, part: Part) -> Answer:
    return stranger.ask("POST", CHAT, json={"model": ECHO, "messages": _asked(part)})


def document_in_chat(stranger: Stranger, data: bytes) -> Answer:
    return _as_chat(stranger, {"type": "file", "file": {"filename": "a.pdf", "file_data": _text(data)}})


def document_in_job(stranger: Stranger, data: bytes) -> Answer:
    return _as_job(stranger, {"type": "document", "document": f"data:application/pdf;base64,{_text(data)}"})


def document_in_response(stranger: Stranger, data: bytes) -> Answer:
    return _with_file(stranger, data, "user_data", partial(_as_response, stranger, "input_file"))


def _as_response(stranger: Stranger, kind: str, file: str) -> Answer:
    content = [{"type": kind, "file_id": file}, {"type": "input_text", "text": "what is it?"}]
    body = {"model": ECHO, "input": [{"role": "user", "content": content}]}
    return stranger.ask("POST", "/v1/responses", json=body)


def document_in_pages(stranger: Stranger, data: bytes) -> Answer:
    return _with_file(stranger, data, "user_data", partial(_first_page, stranger))


def _first_page(stranger: Stranger, file: str) -> Answer:
    """Of a job of pages, whose row stands for the job."""
    document = {"file": file, "pages": "1", "per": "page"}
    body = {"model": ECHO, "input": {"prompt": "what is it?"}, "document": document}
    made = stranger.ask("POST", "/v1/jobs", json=body)
    if made.code:
        return made
    urls, until = json.loads(made.text)["urls"], time.monotonic() + LIMIT_S
    while json.loads(stranger.ask("GET", f"{urls['self']}?wait=10").text)["ended_at"] is None:
        assert time.monotonic() < until
    return stranger.ask("GET", urls["pages"])


def video_in_chat(stranger: Stranger, data: bytes) -> Answer:
    return _as_chat(
        stranger, {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{_text(data)}"}}
    )


def video_in_job(stranger: Stranger, data: bytes) -> Answer:
    return _as_job(stranger, {"type": "video", "video": f"data:video/webm;base64,{_text(data)}"})


def video_in_response(stranger: Stranger, data: bytes) -> Answer:
    return _with_file(stranger, data, "vision", partial(_as_response, stranger, "input_video"))


def judge(case: Case, answer: Answer) -> str | None:
    """What became of it that should not have."""
    failed = '"status":"failed"' in answer.text
    if answer.status == 200 and not failed:
        return f"{case.name}: shown" if case.fate == BAD else None
    codes = {code for code in CODES if f'"{code}"' in answer.text}
    if codes and (answer.status >= 400 or failed) and case.fate in (ANY, BAD):
        return None
    return f"{case.name}: {answer.status} {answer.text[:300]}"


def _met(door: Door, stranger: Stranger, data: bytes) -> Answer:
    """Again where too many were there at once, as clients do."""
    for _ in range(TRIES):
        answer = door(stranger, data)
        if answer.code != "queue_full":
            break
    return answer


def wrong(stranger: Stranger, cases: Iterable[Case], doors: tuple[Door, ...], through: int) -> list[str]:
    """Each case through so many of the doors, which take turns."""

    def met(numbered: tuple[int, Case]) -> str | None:
        number, case = numbered
        data = case.made()
        assert isinstance(data, bytes)
        for turn in range(number, number + through):
            door = doors[turn % len(doors)]
            if found := judge(case, _met(door, stranger, data)):
                return f"{door.__name__}: {found}"
        return None

    return all_wrong(met, enumerate(cases))


def test_the_corpus_has_150_files_each_under_its_own_name() -> None:
    names = [case.name for case in (*DOCUMENTS, *VIDEOS)]
    assert len(set(names)) == len(names) >= 150


def test_every_document_is_shown_or_refused_and_reaches_nobody(
    stranger: Stranger, world: World, whole: bool
) -> None:
    doors = (document_in_chat, document_in_job, document_in_response, document_in_pages)
    assert wrong(stranger, DOCUMENTS, doors, 2 if whole else 1) == []
    assert world.internet is None or world.internet.reached == []


def test_every_video_is_shown_or_refused_and_reaches_nobody(
    stranger: Stranger, world: World, whole: bool
) -> None:
    doors = (video_in_chat, video_in_job, video_in_response)
    assert wrong(stranger, VIDEOS, doors, 2 if whole else 1) == []
    assert world.internet is None or world.internet.reached == []
