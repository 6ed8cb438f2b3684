"""Example requests that work as they are, and answers as the dialects really write them."""

from dataclasses import replace
from typing import Any

from api.dialects.hf import task_answers
from api.dialects.hf.task_requests import from_hf
from api.dialects.native import jobs
from api.dialects.native.questions import StoredPicture, to_request_view
from api.dialects.openai import chat
from api.dialects.openai.response_events import ResponseEvent, ResponseEventWriter
from api.dialects.openai.response_object import StoredResponse, response_id, to_response
from api.dialects.openai.responses import from_response
from api.server.sse import DONE, block
from shared.errors import CODES, ServiceError
from shared.job import Attempt, Computed, Estimate, Event, JobRequest, JobView, Question
from shared.json_line import to_json
from shared.media.pictures import PictureInfo
from shared.request import Image
from shared.result import Choice, Origin, Result, Usage

MODEL = "sightline/tiny"
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgAQMAAABJtOi3AAAABlBMVEX////cFBTlJRwCAAAARElEQVR42n3NsRGA"
    "IBTA0Me3cAzZRDZzNUZhBAfwwIKzxBS5dOGf/cbxCDmEkmyqFIkSEEGetVSnzRpUroGzC61/jwUvM1QM6BMEposAAAAASUVORK5CYII="
)
"""A red disc on white."""

QUESTION = "What is this?"
JOB = {"model": MODEL, "input": {"prompt": QUESTION, "image": PICTURE}}
MESSAGES = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": QUESTION},
                {"type": "image_url", "image_url": {"url": PICTURE}},
            ],
        }
    ]
}
CHAT = {"model": MODEL, **MESSAGES}
HF = {"inputs": {"image": PICTURE, "text": QUESTION}}
_VQA = {"inputs": {"image": PICTURE, "question": QUESTION}}

KEY = {"name": "Example Ltd, production", "caller": "example-ltd", "requests_per_minute": 600}
ROTATION = {"grace_s": 3600}
ROW = {"id": "Qwen/Qwen3-VL-4B-Instruct", "source": "Qwen/Qwen3-VL-4B-Instruct", "dtype": "bfloat16"}
KEY_ID = "key_0c1d2e3f40516273"

QUEUED = JobView(
    id="job_5f0c4a7d9e8b4c21a3d6f7e8b9c0d1e2",
    caller="",
    model=MODEL,
    status="queued",
    created_ms=1_760_000_000_000,
    waiting_reason="busy",
    ahead=3,
    estimate=Estimate(p50=1.5, p90=2.25, service_s=0.5, basis="measured"),
    cache="MISS",
    last_event=1,
    question=Question(QUESTION, pictures=1),
)
SUCCEEDED = replace(
    QUEUED,
    status="succeeded",
    started_ms=1_760_000_000_250,
    ended_ms=1_760_000_000_750,
    waiting_reason=None,
    ahead=None,
    estimate=None,
    attempts=(Attempt(1, "worker_0c1d2e3f40516273", 1_760_000_000_250, 1_760_000_000_750, "succeeded"),),
    result=Result(
        choices=(Choice(text="A red disc.", finish_reason="stop", score=0.98),),
        usage=Usage(prompt_tokens=70, completion_tokens=5, image_tokens=64),
        fingerprint="0123456789abcdef0123456789abcdef",
        compute_s=0.5,
        origin=Origin(
            made_of={
                "revision": "main",
                "engine": "continuous",
                "dtype": "torch.float32",
                "device": "cpu",
                "files": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            },
            parameters={"max_new_tokens": 512, "do_sample": False},
        ),
    ),
    computed=Computed(
        QUEUED.id,
        job=QUEUED.id,
        queued_ms=1_760_000_000_000,
        started_ms=1_760_000_000_250,
        first_text_ms=1_760_000_000_400,
        ended_ms=1_760_000_000_750,
        attempts=1,
    ),
    last_event=4,
)
EVENTS = (
    Event(1, "queued", {}, 1_760_000_000_000),
    Event(2, "running", {"attempt": 1}, 1_760_000_000_250),
    Event(3, "text", {"start": 0, "text": "A red disc.", "ids": [34, 8, 21]}, 1_760_000_000_700),
    Event(4, "succeeded", {}, 1_760_000_000_750),
)


def _chat_chunks() -> bytes:
    writer, result = chat.ChatChunkWriter(QUEUED, usage=False), chat.result_of(SUCCEEDED)
    chunks = [*writer.opening(1), *writer.piece(EVENTS[2].data), *writer.ending(result)]
    return b"".join(block(to_json(chunk)) for chunk in chunks) + DONE


CHAT_STREAM = _chat_chunks()
_TOKENS = (task_answers.token_chunk(EVENTS[2].data, 1), task_answers.last_chunk(SUCCEEDED, 2, from_hf(HF)))

HF_STREAM = b"".join(block(to_json(chunk)) for chunk in _TOKENS)
_JOB_EVENTS = tuple(jobs.to_event(event, SUCCEEDED) for event in EVENTS)
JOB_STREAM = b"".join(block(to_json(data), event=name, id=number) for name, number, data in _JOB_EVENTS)

PAGE_STREAM = block(
    to_json({"row": {"page": 1, "status": "succeeded", "job": QUEUED.id, "text": "An invoice."}}),
    event="page",
    id=1,
)
LIVE_STREAM = block(to_json({"changed": [QUEUED.id]}), event="jobs")
_CONTENT = [{"type": "input_text", "text": QUESTION}, {"type": "input_image", "image_url": PICTURE}]
RESPONSE = {"model": MODEL, "input": [{"role": "user", "content": _CONTENT}]}
RESPONSE_ID = response_id(QUEUED.id)
_TURN = from_response(RESPONSE)
_REQUEST = _TURN.request.with_media((Image(digest="0" * 64),))
_RESPONSE = StoredResponse(SUCCEEDED, _REQUEST, _TURN.fields)


def _response_events() -> list[ResponseEvent]:
    writer = ResponseEventWriter(_RESPONSE)
    *before, _ = EVENTS
    opening = writer.opening()
    events = [written for event in before for written in writer.events(event)]
    return [*opening, *events, *writer.ending(SUCCEEDED)]


RESPONSE_STREAM = b"".join(block(to_json(event), event=event["type"]) for event in _response_events())

_ASKED = JobRequest(None, None, {}, "normal", {})
_PICTURES = (StoredPicture(0, 141, PictureInfo("PNG", 32, 32)),)
ANSWERS: dict[str, Any] = {
    "jobs-cancelled": jobs.to_cancelled({QUEUED.id: replace(QUEUED, status="cancelled")}),
    "job-request": to_request_view(QUEUED.id, _ASKED, _REQUEST, _PICTURES),
    "job-queued": jobs.to_job(QUEUED),
    "job-succeeded": jobs.to_job(SUCCEEDED),
    "chat": chat.to_completion(SUCCEEDED),
    "generated-text": task_answers.to_answer(SUCCEEDED, from_hf(HF), None),
    "scored-answer": task_answers.to_answer(SUCCEEDED, from_hf(_VQA), None),
    "response": to_response(_RESPONSE),
}

ERRORS = {code.status: ServiceError(name, code.remedy) for name, code in reversed(CODES.items())}

FILE_ID = "file-4f1d2c3b4a5968778695a4b3c2d1e0f0"
BATCH_ID = "batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0"
BATCH: dict[str, Any] = {
    "input_file_id": FILE_ID,
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "metadata": {"night": "12"},
}
KEY_WEBHOOK = {"url": "https://shop.example/told", "events": ["job.succeeded", "job.failed"]}
REDELIVERY = {"since": 1760000000}
CANCEL = {"ids": [QUEUED.id]}
