"""What clients of strict languages cannot read an answer without, by the sources of async-openai (Rust),
openai-java, openai-go, go-openai, LangChain4j and the AI SDK's provider for Hugging Face.

A field that is null, missing or of another type there is an exception in their users' hands, where those of
Python and JavaScript read on. The golden answers of the dialects' own tests pin those of chats and responses.
"""

import json
from collections.abc import Iterator
from typing import Any

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
# go-openai wants `message` and a `type` that is no null; Rust's client a `code` that is no number.
ERROR = {"message": str, "type": str, "param": TEXT, "code": TEXT}


def misfits(value: Any, shape: Any, at: str = "") -> Iterator[str]:
    """Yield where a value is not of its shape: a type, members, a fixed value, or one of several."""
    match shape:
        case tuple():
            fits = any(not list(misfits(value, one)) for one in shape)
        case dict():
            fits = isinstance(value, dict)
            for name, kind in shape.items() if fits else ():
                yield from misfits(value.get(name, ...), kind, f"{at}.{name}")
        case _ if shape is int:
            fits = type(value) is int and 0 <= value < 2**32
        case type():
            fits = type(value) is shape
        case _:
            fits = value == shape
    if not fits:
        yield f"{at}: {value!r}"


def recorded(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


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
