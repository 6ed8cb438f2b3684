"""What clients of strict languages cannot read an answer without, by the sources of async-openai (Rust),
openai-java, openai-go, go-openai, LangChain4j and the AI SDK's provider for Hugging Face.

A field that is null, missing or of another type there is an exception in their users' hands, where those of
Python and JavaScript read on. The recorded answers are those of the dialects' own tests.
"""

import json
from typing import Annotated, Any, Literal

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

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

Unsigned = Annotated[int, Field(ge=0, lt=2**32)]


class Strict(BaseModel):
    """What is not named here may be anything; a default says that it may be missing too."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Details(Strict):
    cached_tokens: Unsigned


class ChatDetails(Details):
    """Swift's client needs both counts, else it shows no usage at all."""

    audio_tokens: Unsigned


class Usage(Strict):
    prompt_tokens: Unsigned
    completion_tokens: Unsigned
    total_tokens: Unsigned
    prompt_tokens_details: ChatDetails


class Token(Strict):
    token: str
    logprob: float
    bytes: list[Unsigned]


class ToldToken(Token):
    top_logprobs: list[Token]


class ChatLogprobs(Strict):
    content: list[ToldToken] | None
    refusal: list[ToldToken] | None


class Function(Strict):
    name: str
    arguments: str


class Call(Strict):
    id: str
    type: Literal["function"]
    function: Function


class Message(Strict):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: Annotated[list[Call], Field(min_length=1)] = []


Reason = Literal["stop", "length", "tool_calls", "content_filter"]


class Choice(Strict):
    index: Unsigned
    message: Message
    finish_reason: Reason
    logprobs: ChatLogprobs | None


class Envelope(Strict):
    id: str
    created: Unsigned
    model: str
    system_fingerprint: str | None


class Completion(Envelope):
    object: Literal["chat.completion"]
    choices: list[Choice]
    usage: Usage


class Delta(Strict):
    role: Literal["assistant"] = "assistant"
    content: str | None = None
    tool_calls: list[Call] = []


class ChunkChoice(Strict):
    index: Unsigned
    delta: Delta
    finish_reason: Reason | None
    logprobs: ChatLogprobs | None


class Chunk(Envelope):
    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    usage: Usage | None = None


class Reasoned(Strict):
    reasoning_tokens: Unsigned


class ResponseUsage(Strict):
    input_tokens: Unsigned
    input_tokens_details: Details
    output_tokens: Unsigned
    output_tokens_details: Reasoned
    total_tokens: Unsigned


class Text(Strict):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[ToldToken]


class Said(Strict):
    type: Literal["message"]
    id: str
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[Text]


class Called(Strict):
    type: Literal["function_call"]
    id: str
    call_id: str
    name: str
    arguments: str
    status: Literal["in_progress", "completed", "incomplete"]


Item = Annotated[Said | Called, Field(discriminator="type")]


class Failure(Strict):
    code: str
    message: str


class Incomplete(Strict):
    reason: str


class Response(Strict):
    id: str
    object: Literal["response"]
    created_at: Unsigned
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    model: str
    output: list[Item]
    error: Failure | None
    incomplete_details: Incomplete | None
    instructions: str | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    service_tier: Literal["auto", "default", "flex", "scale", "priority"]
    temperature: float
    top_p: float
    tool_choice: Literal["none", "auto", "required"] | dict[str, str]
    tools: list[dict[str, Any]]
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None


class Event(Strict):
    type: str
    sequence_number: Unsigned
    response: Response | None = None
    item: Item | None = None


class ApiError(Strict):
    """go-openai wants `message` and a `type` that is no null; Rust's client a `code` that is no number."""

    message: str
    type: str
    param: str | None
    code: str | None


def recorded(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Completion, "chat_completion"),
        (Completion, "chat_calls"),
        (list[Chunk], "chat_chunks"),
        (list[Chunk], "chat_call_chunks"),
        (ChatLogprobs, "chat_logprobs"),
        (list[Response], "responses"),
        (Response, "response_calls"),
        (list[Event], "response_events"),
    ],
)
def test_an_answer_has_all_that_strict_clients_read(kind: Any, name: str) -> None:
    TypeAdapter(kind).validate_python(recorded(name))


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
    ApiError.model_validate(told["error"])
    ApiError.model_validate(to_error(CallerError("not_found", "There is nothing at this path."))["error"])


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
    file, batch = to_file(uploaded), to_batch(begun)
    assert types(model, "id", "object", "created", "owned_by") == [str, str, int, str]
    assert types(file, "bytes", "created_at", "filename", "status") == [int, int, str, str]
    assert types(batch, "created_at", "completion_window", "input_file_id") == [int, str, str]
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert types(to_page([], has_more=False), "object", "data", "has_more") == [str, list, bool]


def types(answer: Any, *names: str) -> list[type]:
    return [type(answer[name]) for name in names]
