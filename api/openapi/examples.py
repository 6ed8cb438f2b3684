"""Example requests that work as they are, and answers as the dialects really write them."""

from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from api.dialects.fields import to_page
from api.dialects.hf import task_answers
from api.dialects.hf.task_requests import from_hf
from api.dialects.native import jobs
from api.dialects.native.admin import from_key, to_admin_action, to_key, to_key_list, to_new_key
from api.dialects.native.jobs import to_forecast
from api.dialects.native.webhooks import (
    from_endpoint,
    to_endpoint,
    to_event,
    to_new_endpoint,
    to_try,
)
from api.dialects.openai import chat, completions
from api.dialects.openai.batches import to_batch
from api.dialects.openai.chat import ChunkHead
from api.dialects.openai.files import to_deleted as to_deleted_file
from api.dialects.openai.files import to_file
from api.dialects.openai.response_events import ResponseEvent, ResponseEventWriter
from api.dialects.openai.response_items import input_items, to_item_list
from api.dialects.openai.response_object import StoredResponse, response_id, to_deleted, to_response
from api.dialects.openai.responses import from_response
from api.server.sse import DONE, block
from shared.api_keys import AdminAction, Operator
from shared.batch import Batch
from shared.batch import Tokens as BatchTokens
from shared.errors import CallerError, InternalError, ServiceError, Unavailable
from shared.file import File
from shared.job import Attempt, Computed, Delivery, Estimate, Event, JobView, Page
from shared.request import Image
from shared.result import Choice, Origin, Result, Usage
from shared.tokens import TokenForecast, Tokens
from shared.webhooks import TEST, DeliveryAttempt, Notice

MODEL = "sightline/tiny"
BLOBS = {"kind": "folder", "state": "reachable"}
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
PROMPT = {"prompt": "A cat is"}
COMPLETION = {"model": MODEL, **PROMPT}
HF = {"inputs": {"image": PICTURE, "text": QUESTION}}
_VQA = {"inputs": {"image": PICTURE, "question": QUESTION}}

KEY = {"name": "Example Ltd, production", "caller": "example-ltd", "requests_per_minute": 600}
ROTATION = {"grace_s": 3600}
ROW = {"id": "Qwen/Qwen3-VL-4B-Instruct", "source": "Qwen/Qwen3-VL-4B-Instruct", "dtype": "bfloat16"}
KEY_ID = "key_0c1d2e3f40516273"
_KEY = from_key(KEY, KEY_ID, 1_760_000_000_000)
_ADMIN_ACTION = AdminAction(
    id="1760000000000-0",
    at_ms=1_760_000_000_000,
    action="key.create",
    subject=KEY_ID,
    outcome="done",
    operator=Operator("key_admin", "admin", "192.0.2.7", "req_0123456789abcdef0123456789abcdef"),
)

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
        "run_8e1b4c7a0d3f4625a9c8b7d6e5f40312",
        job=QUEUED.id,
        queued_ms=1_760_000_000_000,
        started_ms=1_760_000_000_250,
        first_text_ms=1_760_000_000_400,
        ended_ms=1_760_000_000_750,
        attempts=1,
    ),
    last_event=4,
)
FORECAST = TokenForecast(
    model=MODEL,
    outcome="queued",
    tokens=Tokens(70, 64, "measured"),
    answer_tokens=512,
    cost=538,
    context_length=2048,
    cache="MISS",
    waiting_reason="busy",
    ahead=3,
    estimate=Estimate(p50=1.5, p90=2.25, service_s=0.5, basis="measured"),
)
EVENTS = (
    Event(1, "queued", {}, 1_760_000_000_000),
    Event(2, "running", {"attempt": 1}, 1_760_000_000_250),
    Event(3, "text", {"start": 0, "text": "A red disc.", "ids": [34, 8, 21]}, 1_760_000_000_700),
    Event(4, "succeeded", {}, 1_760_000_000_750),
)

_HEAD = ChunkHead(chat.completion_id(SUCCEEDED), MODEL, 1_760_000_000)
_CHAT_CHUNKS = (
    chat.first_chunk(_HEAD),
    chat.delta_chunk(_HEAD, "A red disc."),
    chat.finish_chunk(_HEAD, "stop"),
)
_TEXT_CHUNKS = (
    completions.text_chunk(_HEAD, "A red disc."),
    completions.text_finish_chunk(_HEAD, "stop"),
)
_TOKENS = (task_answers.token_chunk(EVENTS[2], 1), task_answers.last_chunk(SUCCEEDED, 2, from_hf(HF)))

CHAT_STREAM = b"".join(block(to_json(chunk)) for chunk in _CHAT_CHUNKS) + DONE
TEXT_STREAM = b"".join(block(to_json(chunk)) for chunk in _TEXT_CHUNKS) + DONE
HF_STREAM = b"".join(block(to_json(chunk)) for chunk in _TOKENS)
_JOB_EVENTS = tuple(jobs.to_event(event, SUCCEEDED) for event in EVENTS)
JOB_STREAM = b"".join(block(to_json(data), event=name, id=number) for name, number, data in _JOB_EVENTS)

_MODEL = {"id": MODEL, "object": "model", "created": 0, "owned_by": "sightline"}
_WAITING = {"workers": 1, "queued": 0, "estimated_time": 0.0, "basis": "measured"}
ANSWERS: dict[str, Any] = {
    "job-queued": jobs.to_job(QUEUED),
    "job-succeeded": jobs.to_job(SUCCEEDED),
    "forecast": to_forecast(FORECAST),
    "jobs": jobs.to_list(Page((SUCCEEDED,))),
    "chat": chat.to_completion(SUCCEEDED, MODEL, 1_760_000_000),
    "text": completions.to_text_completion(SUCCEEDED, MODEL, 1_760_000_000),
    "generated-text": task_answers.to_answer(SUCCEEDED, from_hf(HF), None),
    "scored-answer": task_answers.to_answer(SUCCEEDED, from_hf(_VQA), None),
    "key": to_key(_KEY),
    "new-key": to_new_key(_KEY, "sl_" + "0123456789" * 4),
    "admin_actions": to_page([to_admin_action(_ADMIN_ACTION)]),
    "keys": to_key_list([_KEY]),
    "model": _MODEL,
    "models": {"object": "list", "data": [_MODEL]},
    "model-info": {
        "model_id": MODEL,
        "model_sha": "main",
        "model_dtype": "float32",
        "model_device_type": "auto",
        "state": "ready",
        **_WAITING,
    },
    "model-status": {
        "loaded": True,
        "state": "Loaded",
        "compute_type": "auto",
        "framework": "transformers",
        **_WAITING,
        "reason": None,
        "engine": "sequential",
        "engine_reason": None,
        "reused": None,
        "paused": False,
        "draining": False,
        "calibration": {"scored": 812, "within_p50": 0.52, "within_p90": 0.91},
    },
    "fleet": {
        "models": [
            {
                "model": MODEL,
                "state": "ready",
                "reason": None,
                "paused": False,
                "draining": False,
                "drained": False,
                "queued": {"interactive": 0, "normal": 3, "batch": 240},
                "running": 16,
                "backlog": 259,
                "oldest_queued_s": 12.5,
                "engine": "continuous",
                "engine_reason": None,
                "reused": None,
                "workers": [
                    {
                        "id": "worker_b8f75edfc8c7def1",
                        "state": "ready",
                        "host": "gpu-3",
                        "pid": 4711,
                        "since": 1795200000.0,
                        "rows": 16,
                        "busy": 16,
                        "memory": 2147483648,
                        "tokens_per_s": 812.4,
                        "fingerprint": "0b7a3f5e9c1d42860f3b8e6a7d5c4b21",
                    }
                ],
            }
        ]
    },
    "model-health": {"status": "ready"},
    "health": {"status": "ok", "store": "reachable", "blobs": BLOBS},
    "ready": {"status": "ready", "models": {MODEL: "ready"}, "blobs": BLOBS},
    "not-ready": {"status": "not_ready", "models": {MODEL: "loading"}, "blobs": BLOBS},
}
"""Answers by name."""

ERRORS: dict[int, ServiceError] = {
    400: CallerError("invalid_request", "`messages` is required.", param="messages"),
    401: CallerError("invalid_api_key", "This API key is wrong, revoked or expired."),
    403: CallerError("insufficient_scope", "This API key lacks the scope `admin`."),
    404: CallerError(
        "model_not_found",
        "The model 'org/other' is not served here; GET /v1/models lists what is.",
        param="model",
    ),
    408: CallerError("upload_timeout", "The body did not arrive within 60 s."),
    409: ServiceError("job_cancelled", "The job was cancelled before it ended."),
    410: CallerError("result_expired", "The result of this job is no longer kept."),
    413: CallerError("payload_too_large", "The body is larger than 26214400 bytes."),
    422: CallerError("idempotency_mismatch", "This Idempotency-Key was used for another request."),
    429: Unavailable(
        "caller_queue_full", f"Too many of your requests wait for {MODEL} already.", retry_after=4
    ),
    500: InternalError(),
    503: Unavailable(
        "model_loading", f"Model {MODEL} is loading.", retry_after=4, estimated_time=3.5, basis="measured"
    ),
    504: Unavailable("wait_exceeded", f"No answer within 120 s; /v1/jobs/{QUEUED.id} goes on."),
}
"""One error by status."""


_CONTENT = [{"type": "input_text", "text": QUESTION}, {"type": "input_image", "image_url": PICTURE}]
RESPONSE = {"model": MODEL, "input": [{"role": "user", "content": _CONTENT}]}
RESPONSE_ID = response_id(QUEUED.id)

_TURN = from_response(RESPONSE)
_REQUEST = _TURN.request.with_media((Image(digest="0" * 64),))
_QUEUED = StoredResponse(QUEUED, _REQUEST, _TURN.fields.model_copy(update={"background": True}))
_SUCCEEDED = StoredResponse(SUCCEEDED, _REQUEST, _TURN.fields)


def _response_events() -> list[ResponseEvent]:
    writer = ResponseEventWriter(_SUCCEEDED)
    *before, _ = EVENTS
    opening = writer.opening()
    events = [written for event in before for written in writer.events(event)]
    return [*opening, *events, *writer.ending(SUCCEEDED)]


RESPONSE_STREAM = b"".join(block(to_json(event), event=event["type"]) for event in _response_events())
RESPONSES: dict[str, Any] = {
    "response": to_response(_SUCCEEDED),
    "response-queued": to_response(_QUEUED),
    "response-cancelled": to_response(replace(_QUEUED, job=replace(QUEUED, status="cancelled"))),
    "response-deleted": to_deleted(RESPONSE_ID),
    "response-input": to_item_list(input_items(_SUCCEEDED), has_more=False, media={}),
}
"""Answers by name."""


FILE_ID = "file-4f1d2c3b4a5968778695a4b3c2d1e0f0"
BATCH_ID = "batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0"
_DAY_MS = 86_400_000
_BEGAN = 1_760_000_000_000
_FILE = File(
    id=FILE_ID,
    caller="local",
    name="questions.jsonl",
    purpose="batch",
    size=91_403,
    digest="",
    created_ms=_BEGAN,
    expires_ms=_BEGAN + 30 * _DAY_MS,
)
_BATCH = Batch(
    id=BATCH_ID,
    caller="local",
    stage="completed",
    file=FILE_ID,
    digest="",
    endpoint="/v1/chat/completions",
    created_ms=_BEGAN,
    expires_ms=_BEGAN + _DAY_MS,
    life_s=30 * 86_400,
    metadata={"night": "12"},
    stages_ms={
        "in_progress": _BEGAN + 1_000,
        "finalizing": _BEGAN + 600_000,
        "completed": _BEGAN + 601_000,
    },
    total=300,
    completed=300,
    tokens=BatchTokens(12_000, 5_400, 9_800),
    output="file-a0b1c2d3e4f5061728394a5b6c7d8e9f",
)

BATCH: dict[str, Any] = {
    "input_file_id": FILE_ID,
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "metadata": {"night": "12"},
}
BATCHES: dict[str, Any] = {
    "file": to_file(_FILE),
    "files": to_page([to_file(_FILE)], has_more=False),
    "file-deleted": to_deleted_file(FILE_ID),
    "batch": to_batch(_BATCH),
    "batches": to_page([to_batch(_BATCH)], has_more=False),
}


ENDPOINT = {"url": "https://shop.example/told", "events": ["job.*"], "description": "The shop"}
ENDPOINT_CHANGE = {"enabled": True}
ENDPOINT_ID = "wh_8e1b4c7a0d3f4625a9c8b7d6e5f40312"
_ENDPOINT = from_endpoint(ENDPOINT, ENDPOINT_ID)
_SECRET = "whsec_" + "bDNrSnI0VWw1bmFkNXl2dWl1Z2U="
EVENT_ID = f"msg_{SUCCEEDED.id.removeprefix('job_')}_ended"
_ENDED = Notice(EVENT_ID, "job.succeeded", 1_760_000_000_750, SUCCEEDED.id, job=SUCCEEDED)
_TEST = Notice(
    "msg_test_5d0c4a7d9e8b4c21a3d6f7e8b9c0d1e2_sent",
    TEST,
    1_760_000_000_000,
    "test_5d0c4a7d9e8b4c21a3d6f7e8b9c0d1e2",
    data=f'{{"id":"{ENDPOINT_ID}","object":"webhook"}}',
)
_TRY = DeliveryAttempt(EVENT_ID, Delivery("job.succeeded", 1_760_000_000_800, 42, 204))

WEBHOOKS: dict[str, Any] = {
    "endpoint": to_endpoint(_ENDPOINT),
    "new-endpoint": to_new_endpoint(_ENDPOINT, _SECRET),
    "endpoints": to_page([to_endpoint(_ENDPOINT)]),
    "tries": {"object": "list", "data": [to_try(_TRY)], "has_more": False},
    "event": to_event(_ENDED),
    "test-event": to_event(_TEST),
    "events": to_page([to_event(_ENDED)]),
}
"""Answers by name."""
