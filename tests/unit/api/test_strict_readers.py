"""What clients of strict languages cannot read an answer without, by the sources of async-openai (Rust),
openai-java, openai-go, go-openai, LangChain4j and the AI SDK's provider for Hugging Face.

A field that is null, missing or of another type there is an exception in their users' hands, where those of
Python and JavaScript read on. The recorded answers are those of the dialects' own tests.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from api.dialects.fields import to_page
from api.dialects.native.models import to_model
from api.dialects.openai.batches import to_batch
from api.dialects.openai.errors import to_error, to_stream_error
from api.dialects.openai.files import to_file
from shared.batch import Batch
from shared.errors import CallerError
from shared.file import File
from shared.models import Model
from shared.settings import Settings
from tests.support.golden import DATA

TEXT = (str, None)
TOKEN = {"token": str, "logprob": float, "bytes": [int]}
TOLD = [TOKEN | {"top_logprobs": [TOKEN]}]
LOGPROBS = {"content": (TOLD, None), "refusal": (TOLD, None)}
# Swift's client needs both counts, else it shows no usage at all.
DETAILS = {"cached_tokens": int, "audio_tokens": int}
COUNTS = {"prompt_tokens": int, "completion_tokens": int, "total_tokens": int}
USAGE = COUNTS | {"prompt_tokens_details": DETAILS}
CALL = {"id": str, "type": "function", "function": {"name": str, "arguments": str}}
REASON = ("stop", "length", "tool_calls", "content_filter")
CHOICE = {"index": int, "logprobs": (LOGPROBS, None)}
MESSAGE = {"role": "assistant", "content": TEXT, "refusal": TEXT, "tool_calls?": [CALL]}
DELTA = {"role?": "assistant", "content?": TEXT, "tool_calls?": [CALL]}
ENVELOPE = {"id": str, "created": int, "model": str, "system_fingerprint": TEXT}
COMPLETION = ENVELOPE | {
    "object": "chat.completion",
    "choices": [CHOICE | {"message": MESSAGE, "finish_reason": REASON}],
    "usage": USAGE,
}
CHUNK = ENVELOPE | {
    "object": "chat.completion.chunk",
    "choices": [CHOICE | {"delta": DELTA, "finish_reason": (*REASON, None)}],
    "usage?": (USAGE, None),
}
STATUS = ("in_progress", "completed", "incomplete")
SAID = {"type": "message", "id": str, "role": "assistant", "status": STATUS} | {
    "content": [{"type": "output_text", "text": str, "annotations": list, "logprobs": TOLD}]
}
CALLED = {"type": "function_call", "id": str, "call_id": str, "name": str, "arguments": str, "status": STATUS}
RESPONSE = {
    "id": str,
    "object": "response",
    "created_at": int,
    "status": ("queued", *STATUS, "failed", "cancelled"),
    "model": str,
    "output": [(SAID, CALLED)],
    "error": ({"code": str, "message": str}, None),
    "incomplete_details": ({"reason": str}, None),
    "instructions": TEXT,
    "metadata": dict,
    "parallel_tool_calls": bool,
    "service_tier": ("auto", "default", "flex", "scale", "priority"),
    "temperature": float,
    "top_p": float,
    "tool_choice": ("none", "auto", "required", dict),
    "tools": list,
    "truncation": ("auto", "disabled"),
    "usage": (
        dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), int)
        | {
            "input_tokens_details": {"cached_tokens": int},
            "output_tokens_details": {"reasoning_tokens": int},
        },
        None,
    ),
}
EVENT = {"type": str, "sequence_number": int, "response?": RESPONSE, "item?": (SAID, CALLED)}
# go-openai wants `message` and a `type` that is no null; Rust's client a `code` that is no number.
ERROR = {"message": str, "type": str, "param": TEXT, "code": TEXT}


def misfits(value: Any, shape: Any, at: str = "") -> Iterator[str]:
    """Where a value is not of its shape: a type, members (`?`: may be missing), a list, or one of several."""
    match shape:
        case tuple():
            fits = any(not list(misfits(value, one)) for one in shape)
        case [each]:
            fits = isinstance(value, list)
            for n, one in enumerate(value if fits else ()):
                yield from misfits(one, each, f"{at}[{n}]")
        case dict():
            fits = isinstance(value, dict)
            for name, kind in shape.items() if fits else ():
                if not name.endswith("?") or name[:-1] in value:
                    yield from misfits(value.get(name.rstrip("?"), ...), kind, f"{at}.{name}")
        case _ if shape is int:
            fits = type(value) is int and 0 <= value < 2**32
        case _ if shape is float:
            fits = type(value) in (int, float)
        case type():
            fits = type(value) is shape
        case _:
            fits = value == shape
    if not fits:
        yield f"{at}: {value!r}"


def recorded(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (COMPLETION, "chat_completion"),
        (COMPLETION, "chat_calls"),
        ([CHUNK], "chat_chunks"),
        ([CHUNK], "chat_call_chunks"),
        (LOGPROBS, "chat_logprobs"),
        ([RESPONSE], "responses"),
        (RESPONSE, "response_calls"),
        ([EVENT], "response_events"),
    ],
)
def test_an_answer_has_all_that_strict_clients_read(shape: Any, name: str) -> None:
    assert list(misfits(recorded(name), shape)) == []


def test_no_event_has_a_field_error_beside_those_that_fail() -> None:
    # openai-go and openai-java take one for the end of the stream, be it null.
    told = [*recorded("chat_chunks"), *recorded("chat_call_chunks"), *recorded("response_events")]
    assert not [event for event in told if "error" in event]


def test_a_reader_who_closes_its_text_where_the_call_begins_hears_no_more_of_it() -> None:
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    chunks = [ChatCompletionChunk.model_validate(chunk) for chunk in recorded("chat_call_chunks")]
    told = [event.type for chunk in chunks for event in state.handle_chunk(chunk)]
    assert told.count("content.done") == 1
    assert "content.delta" not in told[told.index("content.done") :]


def test_an_error_of_a_stream_begins_with_its_error() -> None:
    # go-openai knows it by its first bytes alone.
    told = to_stream_error(CallerError("invalid_request", "No.", param="n"))
    assert next(iter(told)) == "error"
    for error in (told, to_error(CallerError("not_found", "There is nothing at this path."))):
        assert list(misfits(error["error"], ERROR)) == []


def test_models_files_and_batches_say_times_and_counts_in_numbers() -> None:
    uploaded = File("file-1", "c", "a", "batch", size=1, digest="d", created_ms=1, expires_ms=2)
    begun = Batch(
        id="batch_1",
        caller="c",
        stage="validating",
        file="file-1",
        digest="d",
        endpoint="/v1/responses",
        created_ms=1,
        expires_ms=2,
        life_s=3600,
        metadata={},
        stages_ms={},
    )
    model = to_model(Model(id="org/name", source="org/name"), Settings())
    counts = dict.fromkeys(("total", "completed", "failed"), int)
    of_batch = {"created_at": int, "completion_window": str, "input_file_id": str, "request_counts": counts}
    for answer, shape in (
        (model, {"id": str, "object": str, "created": int, "owned_by": str}),
        (to_file(uploaded), {"bytes": int, "created_at": int, "filename": str, "status": str}),
        (to_batch(begun), of_batch),
        (to_page([], has_more=False), {"object": str, "data": list, "has_more": bool}),
    ):
        assert list(misfits(answer, shape)) == []
