"""Example requests that work as they are, and answers as the dialects really write them."""

from dataclasses import replace
from typing import Any

from pydantic_core import to_json

from api.dialects import hf_answers, native, openai_chat, openai_completions
from api.dialects.admin_actions import to_admin_action
from api.dialects.forecasts import to_forecast
from api.dialects.hf import from_hf
from api.dialects.keys import from_key, to_key
from api.dialects.openai_chat import ChunkHead
from api.dialects.pages import to_page
from api.wire.sse import DONE, block
from shared.admin_action import AdminAction, Operator
from shared.errors import CallerError, InternalError, ServiceError, Unavailable
from shared.foretold import Foretold
from shared.job import Attempt, Computed, Estimate, Event, JobView
from shared.listing import Page
from shared.result import Choice, Origin, Result, Usage
from shared.tokens import Tokens

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
FORETOLD = Foretold(
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
TOLD = (
    Event(1, "queued", {}, 1_760_000_000_000),
    Event(2, "running", {"attempt": 1}, 1_760_000_000_250),
    Event(3, "text", {"start": 0, "text": "A red disc.", "ids": [34, 8, 21]}, 1_760_000_000_700),
    Event(4, "succeeded", {}, 1_760_000_000_750),
)

_HEAD = ChunkHead(openai_chat.completion_id(SUCCEEDED), MODEL, 1_760_000_000)
_CHAT_CHUNKS = (
    openai_chat.first_chunk(_HEAD),
    openai_chat.delta_chunk(_HEAD, "A red disc."),
    openai_chat.finish_chunk(_HEAD, "stop"),
)
_TEXT_CHUNKS = (
    openai_completions.text_chunk(_HEAD, "A red disc."),
    openai_completions.text_finish_chunk(_HEAD, "stop"),
)
_TOKENS = (hf_answers.token_chunk(TOLD[2], 1), hf_answers.last_chunk(SUCCEEDED, 2, from_hf(HF, MODEL)))

CHAT_STREAM = b"".join(block(to_json(chunk)) for chunk in _CHAT_CHUNKS) + DONE
TEXT_STREAM = b"".join(block(to_json(chunk)) for chunk in _TEXT_CHUNKS) + DONE
HF_STREAM = b"".join(block(to_json(chunk)) for chunk in _TOKENS)
_JOB_EVENTS = tuple(native.to_event(event, SUCCEEDED) for event in TOLD)
JOB_STREAM = b"".join(block(to_json(data), event=name, id=number) for name, number, data in _JOB_EVENTS)

_MODEL = {"id": MODEL, "object": "model", "created": 0, "owned_by": "sightline"}
_WAITING = {"workers": 1, "queued": 0, "estimated_time": 0.0, "basis": "measured"}
ANSWERS: dict[str, Any] = {
    "job-queued": native.to_job(QUEUED),
    "job-succeeded": native.to_job(SUCCEEDED),
    "forecast": to_forecast(FORETOLD),
    "jobs": native.to_list(Page((SUCCEEDED,))),
    "chat": openai_chat.to_completion(SUCCEEDED, MODEL, 1_760_000_000),
    "text": openai_completions.to_text_completion(SUCCEEDED, MODEL, 1_760_000_000),
    "generated-text": hf_answers.to_answer(SUCCEEDED, from_hf(HF, MODEL), None),
    "scored-answer": hf_answers.to_answer(SUCCEEDED, from_hf(_VQA, MODEL), None),
    "key": to_key(_KEY),
    "new-key": to_key(_KEY, "sl_" + "0123456789" * 4),
    "admin_actions": to_page([to_admin_action(_ADMIN_ACTION)]),
    "keys": {"object": "list", "data": [to_key(_KEY)], "has_more": False},
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
