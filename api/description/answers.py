"""Descriptions of the routes' successful answers."""

from api.description import (
    batch_shapes,
    examples,
    job_shapes,
    response_shapes,
    service_shapes,
    shapes,
    webhook_shapes,
)
from api.description.response_examples import RESPONSE_STREAM
from api.description.responses import (
    JOB_HEADERS,
    REF,
    answer,
    listed,
    one_of,
    ref,
    streamed,
)

ACCEPTED = answer(
    "The job is kept; `location` says where to look for it.",
    ref(job_shapes.Job),
    "job-queued",
    headers=("location", "retry-after", *JOB_HEADERS),
)
JOB_ENDED = answer(
    "The job, where `Prefer: wait` saw its end.",
    ref(job_shapes.Job),
    "job-succeeded",
    headers=JOB_HEADERS,
)
JOB = answer(
    "The job; `retry-after` where it has not ended.",
    ref(job_shapes.Job),
    "job-succeeded",
    "job-queued",
    headers=("retry-after", *JOB_HEADERS),
)
REPLAYED = answer(
    "The job; its webhook is called.", ref(job_shapes.Job), "job-succeeded", headers=JOB_HEADERS
)
JOB_LIST = answer("A page of jobs.", ref(job_shapes.JobList), "jobs")
FORECAST = answer("What would become of it.", ref(job_shapes.Forecast), "forecast")
JOB_GONE = answer("The job is forgotten.")
JOB_TOLD = answer("Who sent `Last-Event-ID` has had the last event.", headers=JOB_HEADERS)
CHANGED = answer("It is so from now on.")
JOB_EVENTS = streamed(
    answer("The events, up to the last.", headers=JOB_HEADERS), job_shapes.JobEvent, examples.JOB_STREAM
)
CHAT_ANSWER = streamed(
    answer(
        "The answer, or its pieces with `stream`.",
        ref(shapes.ChatCompletion),
        "chat",
        headers=JOB_HEADERS,
    ),
    shapes.ChatCompletionChunk,
    examples.CHAT_STREAM,
)
TEXT_ANSWER = streamed(
    answer(
        "The text, or its pieces with `stream`.",
        ref(shapes.TextCompletion),
        "text",
        headers=JOB_HEADERS,
    ),
    shapes.TextCompletion,
    examples.TEXT_STREAM,
)
TASK_ANSWER = streamed(
    answer(
        "The answer of the task, or its pieces with `stream`. huggingface.js is given the object instead of"
        " the list for a picture's bytes.",
        one_of(listed(shapes.GeneratedText), listed(shapes.ScoredAnswer), ref(shapes.GeneratedText)),
        "generated-text",
        "scored-answer",
        headers=JOB_HEADERS,
    ),
    shapes.TokenChunk,
    examples.HF_STREAM,
)
RESPONSE = answer(
    "The response.",
    ref(response_shapes.ResponseObject),
    "response",
    "response-queued",
    "response-cancelled",
    headers=JOB_HEADERS,
)
RESPONSE_STREAMED = streamed(RESPONSE, response_shapes.ResponseEvent, RESPONSE_STREAM)
RESPONSE_GONE = answer("The response is forgotten.", ref(response_shapes.ResponseDeleted), "response-deleted")
RESPONSE_INPUT = answer("A page of its input.", ref(response_shapes.InputItemList), "response-input")
MODEL = answer("The model.", ref(service_shapes.Model), "model")
MODEL_LIST = answer("The models.", ref(service_shapes.ModelList), "models")
MODEL_INFO = answer("The model and the line before it.", ref(service_shapes.ModelInfo), "model-info")
MODEL_STATUS = answer("How the model stands.", ref(service_shapes.ModelStatus), "model-status")
TEXT = {"schema": {"type": "string"}}
METRICS = answer("All metrics, in the form that the caller accepts.") | {
    "content": {"text/plain": TEXT, "application/openmetrics-text": TEXT}
}
FLEET = answer("What waits and who works.", ref(service_shapes.Fleet), "fleet")
MODEL_HEALTH = answer("It is loaded.", ref(service_shapes.ModelHealth), "model-health")
HEALTH = answer("The process serves.", ref(service_shapes.Health), "health")
READY = answer("Some model is loaded.", ref(service_shapes.Readiness), "ready")
NOT_READY = answer(
    "No model is loaded, or the record store is out of reach or takes no writes.",
    one_of(ref(service_shapes.Readiness), {"$ref": f"{REF}HuggingFaceError"}),
    "not-ready",
    headers=("retry-after",),
)
ADMIN_ACTION_LIST = answer("A page of acts.", ref(service_shapes.AdminActionList), "admin_actions")
KEY = answer("The key.", ref(service_shapes.ApiKey), "key")
KEY_LIST = answer("The keys.", ref(service_shapes.ApiKeyList), "keys")
NEW_KEY = answer("The key with its secret.", ref(service_shapes.NewApiKey), "new-key")
ENDPOINT = answer("The webhook.", ref(webhook_shapes.Endpoint), "endpoint")
NEW_ENDPOINT = answer("The webhook with its secret.", ref(webhook_shapes.NewEndpoint), "new-endpoint")
ENDPOINT_LIST = answer("The webhooks.", ref(webhook_shapes.EndpointList), "endpoints")
ENDPOINT_GONE = answer("The webhook is forgotten.")
TRY_LIST = answer("The calls.", ref(webhook_shapes.EndpointTryList), "tries")
SENT = answer("The event, which is sent.", ref(webhook_shapes.Event), "event", "test-event")
EVENT_LIST = answer("A page of events.", ref(webhook_shapes.EventList), "events")
FILE = answer("The file.", ref(batch_shapes.FileObject), "file")
FILE_LIST = answer("A page of files.", ref(batch_shapes.FileList), "files")
FILE_GONE = answer("The file is forgotten.", ref(batch_shapes.FileDeleted), "file-deleted")
FILE_CONTENT = answer("The bytes, as they were uploaded or written.") | {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
}
BATCH = answer("The batch.", ref(batch_shapes.Batch), "batch")
BATCH_LIST = answer("A page of batches.", ref(batch_shapes.BatchList), "batches")
