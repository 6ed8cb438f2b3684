"""Whatever file a stranger calls a document, it is shown or refused, and nobody else notices."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

from tests.safety.answers import LIMIT_S, Answer, Stranger
from tests.safety.case import ANY, BAD, Case
from tests.safety.conftest import ECHO
from tests.safety.documents import documents
from tests.safety.test_bodies import CHAT, all_wrong

CODES = {
    "invalid_document",
    "payload_too_large",
    # A file that is uploaded to be seen or heard is a picture where it is nothing else.
    "invalid_image",
    "context_length_exceeded",
}
Door = Callable[[Stranger, bytes], Answer]
TRIES = 5


def _asked(part: dict[str, Any]) -> dict[str, Any]:
    content = [part, {"type": "text", "text": "what is it?"}]
    return {"model": ECHO, "messages": [{"role": "user", "content": content}]}


def in_chat(stranger: Stranger, data: bytes) -> Answer:
    file = {"filename": "a.pdf", "file_data": base64.b64encode(data).decode()}
    return stranger.ask("POST", CHAT, json=_asked({"type": "file", "file": file}))


def in_job(stranger: Stranger, data: bytes) -> Answer:
    uri = f"data:application/pdf;base64,{base64.b64encode(data).decode()}"
    body = _asked({"type": "document", "document": uri})
    return stranger.ask("POST", "/v1/jobs", json=body, headers={"prefer": "wait=40"})


def _uploaded(stranger: Stranger, data: bytes) -> Answer:
    form = {"files": {"file": ("a", data)}, "data": {"purpose": "user_data"}}
    return stranger.ask("POST", "/v1/files", **form)


def in_response(stranger: Stranger, data: bytes) -> Answer:
    made = _uploaded(stranger, data)
    if made.code:
        return made
    file = {"type": "input_file", "file_id": json.loads(made.text)["id"]}
    content = [file, {"type": "input_text", "text": "what is it?"}]
    body = {"model": ECHO, "input": [{"role": "user", "content": content}]}
    return stranger.ask("POST", "/v1/responses", json=body)


def in_pages(stranger: Stranger, data: bytes) -> Answer:
    """Of a job of pages, whose row stands for the job."""
    made = _uploaded(stranger, data)
    if made.code:
        return made
    document = {"file": json.loads(made.text)["id"], "pages": "1", "per": "page"}
    body = {"model": ECHO, "input": {"prompt": "what is it?"}, "document": document}
    made = stranger.ask("POST", "/v1/jobs", json=body)
    if made.code:
        return made
    urls, until = json.loads(made.text)["urls"], time.monotonic() + LIMIT_S
    while json.loads(stranger.ask("GET", f"{urls['self']}?wait=10").text)["ended_at"] is None:
        assert time.monotonic() < until
    return stranger.ask("GET", urls["pages"])


DOORS: tuple[Door, ...] = (in_chat, in_job, in_response, in_pages)


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


def test_every_document_is_shown_or_refused(stranger: Stranger, whole: bool) -> None:
    """The doors take turns."""

    def met(numbered: tuple[int, Case]) -> str | None:
        number, case = numbered
        data = case.made()
        assert isinstance(data, bytes)
        for turn in range(number, number + (2 if whole else 1)):
            door = DOORS[turn % len(DOORS)]
            if found := judge(case, _met(door, stranger, data)):
                return f"{door.__name__}: {found}"
        return None

    assert all_wrong(met, enumerate(documents())) == []
