"""Every error a caller can meet.

    ServiceError                 carries code, message, param; its row in CODES gives status and retryable
    ├── CallerError        4xx   the request must change before it is sent again
    ├── Unavailable   429, 5xx   the service cannot take or finish it now
    ├── ModelFailed        500   this model cannot load; waiting does not help
    └── InternalError      500   our fault

Errors that end an attempt but never reach a caller are in `worker.engines.base` and `worker.attempt`.
Codes are snake_case and are never renamed.
"""

from typing import NamedTuple


class Code(NamedTuple):
    """What one stable error code means to a caller: HTTP status, whether a repeat can help, what to do."""

    status: int
    retryable: bool
    remedy: str


CODES: dict[str, Code] = {
    "invalid_json": Code(400, False, "Send valid JSON: no NaN, no lone surrogates, at most 64 levels."),
    "invalid_request": Code(400, False, "Correct the field named by `param`."),
    "unknown_field": Code(400, False, "Remove the field named by `param`; the API reference lists all."),
    "unsupported_parameter": Code(400, False, "Leave the parameter out; it is not implemented."),
    "invalid_image": Code(400, False, "Send a picture as browsers make them, within the documented limits."),
    "invalid_image_url": Code(400, False, "Send an http(s) URL of a public host, a data: URI or base64."),
    "invalid_audio": Code(400, False, "Send a WAV, FLAC or MP3 within the documented limits, or its URL."),
    "invalid_document": Code(400, False, "Send a PDF, TIFF, WebP or GIF within the limits, no password."),
    "invalid_video": Code(400, False, "Send an MP4, MOV, WebM, MKV or AVI within the documented limits."),
    "invalid_webhook_url": Code(400, False, "Send an http(s) URL of a public host, without credentials."),
    "fetch_failed": Code(400, False, "Make the URL answer within 5 s, or send the bytes."),
    "context_length_exceeded": Code(400, False, "Shorten the text, send fewer pictures or lower max_tokens."),
    "invalid_json_line": Code(400, False, "Write this line of the batch as one JSON object."),
    "duplicate_custom_id": Code(400, False, "Give each line of a batch its own `custom_id`."),
    "url_mismatch": Code(400, False, "Name the batch's `endpoint` as the `url` of each of its lines."),
    "empty_file": Code(400, False, "Upload a file with a request in each line."),
    "too_many_tasks": Code(400, False, "Split the batch: one takes up to 50,000 lines."),
    "invalid_api_key": Code(401, False, "Send a valid key as `Authorization: Bearer sl_…`."),
    "insufficient_scope": Code(403, False, "Use a key with the scope that the message names."),
    "local_only": Code(403, False, "Call from the service's own machine, or turn API keys on."),
    "foreign_host": Code(403, False, "Call http://127.0.0.1 or http://localhost, or turn API keys on."),
    "foreign_origin": Code(403, False, "Name it in SIGHTLINE_API__CORS_ORIGINS, or turn API keys on."),
    "keys_off": Code(403, False, "Set SIGHTLINE_API__ADMIN_KEY and restart the API; then create keys."),
    "not_found": Code(404, False, "Check the path; the API description at /openapi.json lists them."),
    "model_not_found": Code(404, False, "Use one of the ids listed by GET /v1/models."),
    "model_exists": Code(409, False, "Remove the model first, or add it under another id."),
    "no_node": Code(409, False, "Stop the model's workers where they were started; no node runs them."),
    "job_not_found": Code(404, False, "Check the id; another caller's job is not visible to you."),
    "response_not_found": Code(404, False, "Check the id; another caller's response is not visible to you."),
    "file_not_found": Code(404, False, "Check the id; the file may have expired, or be another caller's."),
    "batch_not_found": Code(404, False, "Check the id; another caller's batch is not visible to you."),
    "key_not_found": Code(404, False, "Use an id of GET /v1/admin/keys that is neither revoked nor expired."),
    "method_not_allowed": Code(405, False, "Use a method in the Allow header."),
    "upload_timeout": Code(408, True, "Send the body faster, or send a smaller one."),
    "model_removed": Code(410, False, "Submit again for a model of GET /v1/models."),
    "job_purged": Code(410, False, "The job was deleted; submit under a new Idempotency-Key."),
    "result_expired": Code(410, False, "The result was deleted at the end of its retention; submit again."),
    "payload_too_large": Code(413, False, "Send a smaller body."),
    "idempotency_mismatch": Code(422, False, "Use a new Idempotency-Key for a different request."),
    "image_count_mismatch": Code(422, False, "Send as many pictures as the messages have image slots."),
    "headers_too_large": Code(431, False, "Send fewer or shorter headers, or a shorter URL (64 KiB in all)."),
    "model_loading": Code(503, True, "Wait, send x-wait-for-model: true, or submit a job."),
    "no_worker": Code(503, True, "Start a worker for this model, or submit a job that waits for one."),
    "model_paused": Code(503, True, "Submit a job, which waits, or ask the operator to resume the model."),
    "model_draining": Code(503, False, "Use another model of GET /v1/models; this one takes no new jobs."),
    "queue_full": Code(503, True, "Wait for Retry-After seconds."),
    "caller_queue_full": Code(429, True, "Wait for Retry-After seconds; you have too much queued or stored."),
    "rate_limited": Code(429, True, "Wait for Retry-After seconds; your key's quota is used up."),
    "stopping": Code(503, True, "Wait for Retry-After seconds; a job named by x-job-id continues."),
    "store_unavailable": Code(503, True, "Wait for Retry-After seconds: Redis, blobs or decoders fail now."),
    "deadline_exceeded": Code(504, True, "Submit again with a later finish_by."),
    "wait_exceeded": Code(504, True, "Poll the job named by x-job-id; it continues."),
    "model_failed": Code(500, False, "Read the worker's log; the model cannot be loaded as configured."),
    "job_not_ended": Code(409, False, "Wait for the job's end, or cancel it, before retrying it."),
    "batch_cancelled": Code(409, False, "The batch was cancelled before this line finished; send it again."),
    "batch_expired": Code(504, True, "Send this line again; the batch's window closed before it finished."),
    "job_cancelled": Code(409, False, "The job was cancelled; submit it again."),
    "poison": Code(500, False, "This request crashed several workers; change it before you send it again."),
    "attempts_exhausted": Code(500, True, "Submit again; if it fails again, report the request id."),
    "format_violated": Code(500, True, "Submit again with another seed, or make the schema simpler."),
    "stream_rewound": Code(410, False, "Redis lost the end of this stream; read the job again."),
    "stream_broken": Code(500, True, "Submit again; the published text cannot be continued."),
    "internal_error": Code(500, True, "Submit again; if it fails again, report the request id."),
}


class ServiceError(Exception):
    """An error with a stable code; a repeat after `retry_after` seconds may succeed."""

    def __init__(
        self, code: str, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        return CODES[self.code].status

    @property
    def retryable(self) -> bool:
        return CODES[self.code].retryable


class CallerError(ServiceError):
    """The request is wrong and was refused before anything was queued, or by the worker that read it."""


class Unavailable(ServiceError):
    """The service cannot take or finish the request now; `estimated_time` (s) says when a model is ready.

    `most_queued` is how many runs the caller may have waiting, where that limit is reached.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        estimated_time: float | None = None,
        basis: str | None = None,
        most_queued: int | None = None,
    ) -> None:
        super().__init__(code, message, retry_after=retry_after)
        self.estimated_time = estimated_time
        self.basis = basis
        self.most_queued = most_queued


class ModelFailed(ServiceError):
    """The model cannot be loaded as configured."""

    def __init__(self, message: str) -> None:
        super().__init__("model_failed", message)


class InternalError(ServiceError):
    """Our fault; the message never holds the cause, the log does."""

    def __init__(self, message: str = "The service failed on this request.") -> None:
        super().__init__("internal_error", message)
