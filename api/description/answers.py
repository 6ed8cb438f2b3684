"""The answers of the routes that are none of their errors."""

from api.description import examples, service_shapes, shapes
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
    ref(shapes.Job),
    "job-queued",
    headers=("location", "retry-after", *JOB_HEADERS),
)
JOB_ENDED = answer(
    "The job, where `Prefer: wait` saw its end.",
    ref(shapes.Job),
    "job-succeeded",
    headers=JOB_HEADERS,
)
JOB = answer(
    "The job; `retry-after` where it has not ended.",
    ref(shapes.Job),
    "job-succeeded",
    "job-queued",
    headers=("retry-after", *JOB_HEADERS),
)
REPLAYED = answer("The job; its webhook is called.", ref(shapes.Job), "job-succeeded", headers=JOB_HEADERS)
JOB_LIST = answer("A page of jobs.", ref(shapes.JobList), "jobs")
JOB_GONE = answer("The job is forgotten.")
CHANGED = answer("It is so from now on.")
JOB_EVENTS = streamed(
    answer("The events, up to the last.", headers=JOB_HEADERS), shapes.JobEvent, examples.JOB_STREAM
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
MODEL = answer("The model.", ref(service_shapes.Model), "model")
MODEL_LIST = answer("The models.", ref(service_shapes.ModelList), "models")
MODEL_INFO = answer("The model and the line before it.", ref(service_shapes.ModelInfo), "model-info")
MODEL_STATUS = answer("How the model stands.", ref(service_shapes.ModelStatus), "model-status")
MODEL_HEALTH = answer("It is loaded.", ref(service_shapes.ModelHealth), "model-health")
HEALTH = answer("The process serves.", ref(service_shapes.Health), "health")
READY = answer("Some model is loaded.", ref(service_shapes.Readiness), "ready")
NOT_READY = answer(
    "No model is loaded, or the record store is out of reach.",
    one_of(ref(service_shapes.Readiness), {"$ref": f"{REF}HuggingFaceError"}),
    "not-ready",
    headers=("retry-after",),
)
KEY = answer("The key.", ref(service_shapes.ApiKey), "key")
KEY_LIST = answer("The keys.", ref(service_shapes.ApiKeyList), "keys")
NEW_KEY = answer("The key with its secret.", ref(service_shapes.NewApiKey), "new-key")
