"""Functions that a request shows, calls that it sends back, and answers that call."""

import json
from functools import partial
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from api.dialects.native.job_requests import from_job
from api.dialects.native.jobs import to_event, to_job
from api.dialects.openai.chat import ChatChunkWriter, from_chat, to_completion
from shared.job import Event
from shared.request import Function, Message, Text, ToolCall, Tools
from tests.support.golden import assert_golden
from tests.support.mutations import refusals
from tests.support.refusal import refusal
from tests.support.tools import CLOCK, WEATHER
from tests.support.views import QUEUED, answered, result_of, succeeded

ASK = {"role": "user", "content": "How is Oslo?"}
ARGUMENTS = '{"unit": "c", "city": "Oslo"}'
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
TURNS: list[dict[str, Any]] = [
    ASK,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
]
FULL: dict[str, Any] = {
    "messages": TURNS,
    "tools": [WEATHER, CLOCK],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
}
SCHEMA = json.dumps(WEATHER["function"]["parameters"], separators=(",", ":"))
WROTE = (
    'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>'
    '\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
)
called = partial(answered, syntax="hermes")


def strict(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {**tool["function"], "strict": True}}


def test_functions_and_calls_of_a_chat_are_read() -> None:
    request = from_chat(FULL).request

    weather = Function(
        name="weather", description="The weather of a city.", parameters=SCHEMA, strict_schema=SCHEMA
    )
    clock = Function(name="clock", parameters='{"type":"object","properties":{}}')
    assert request.tools == Tools(functions=(weather, clock), required=True, named="weather", parallel=False)
    call = ToolCall(id="call_1", name="weather", arguments='{"unit":"c","city":"Oslo"}')
    assert request.messages == (
        Message(role="user", parts=(Text(text="How is Oslo?"),)),
        Message(role="assistant", parts=(), calls=(call,)),
        Message(role="tool", parts=(Text(text="Rain."),), answers="call_1"),
    )
    assert from_job({"model": "m", **FULL}).request.tools == request.tools


@pytest.mark.parametrize(
    ("tools", "choice", "held"),
    [
        ([WEATHER, CLOCK], "auto", [False, False]),
        ([WEATHER, CLOCK], None, [False, False]),
        ([strict(WEATHER), CLOCK], "auto", [True, False]),
        ([WEATHER, CLOCK], "required", [True, True]),
        ([WEATHER, CLOCK], "any", [True, True]),
        ([WEATHER, CLOCK], {"function": {"name": "clock"}}, [False, True]),
    ],
)
def test_arguments_are_held_to_their_schema_if_promised(
    tools: list[Any], choice: Any, held: list[bool]
) -> None:
    found = from_chat({"messages": [ASK], "tools": tools, "tool_choice": choice}).request.tools
    assert found is not None
    assert [f.strict_schema is not None for f in found.functions] == held
    assert found.is_constrained == any(held)


def test_functions_that_may_not_be_called_are_not_shown() -> None:
    plain = from_chat({"messages": [ASK]})
    assert from_chat({"messages": [ASK], "tools": [WEATHER], "tool_choice": "none"}) == plain
    assert from_chat({"messages": [ASK], "tools": [], "tool_choice": "auto"}) == plain


def test_arguments_may_be_an_object_and_no_text_is_an_empty_one() -> None:
    for arguments, meant in (({"city": "Oslo"}, '{"city":"Oslo"}'), ("", "{}"), ("{ }", "{}")):
        call = {"id": "1", "function": {"name": "weather", "arguments": arguments}}
        turn = {"role": "assistant", "content": "So:", "tool_calls": [call]}
        [message] = from_chat({"messages": [turn]}).request.messages
        assert (message.calls[0].arguments, len(message.parts)) == (meant, 1)


def function(**changes: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **changes}}]}


def call(arguments: str = "{}", **changes: Any) -> dict[str, Any]:
    made = {"id": "1", "function": {"name": "f", "arguments": arguments}} | changes
    return {"messages": [ASK, {"role": "assistant", "tool_calls": [made]}]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [CLOCK] * 129}, "tools"),
        ({"tools": [CLOCK, CLOCK]}, "tools[1].function.name"),
        (function(name="a b"), "tools[0].function.name"),
        (function(strict=True, parameters={"type": "string"}), "tools[0].function.parameters.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"function": {"name": "f"}}, "tools": [CLOCK]}, "tool_choice"),
        ({"messages": [{**ASK, "tool_calls": [CALL]}]}, "messages[0].tool_calls"),
        ({"messages": TURNS[:2], "continue_final_message": True}, "continue_final_message"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], param: str) -> None:
    assert refusal(from_chat, {"messages": [ASK]} | change) == ("invalid_request", param)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        (call(type="custom", function=None), "messages[1].tool_calls[0].type"),
        (
            function(strict=True, parameters={"type": "object", "properties": {"a": {"not": {}}}}),
            "tools[0].function.parameters.properties.a.not",
        ),
    ],
)
def test_what_no_function_can_be_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    assert refusal(from_chat, {"messages": [ASK]} | change) == ("unsupported_parameter", param)


def test_whatever_is_broken_is_named_and_never_a_server_error() -> None:
    assert len(refusals(from_chat, FULL, "tool_choice")) > 200


def test_a_call_keeps_an_id_of_any_length() -> None:
    turn = from_chat(call(id="i" * 3000)).request.messages[1]
    assert turn.calls[0].id == "i" * 3000


def test_an_answer_that_calls_is_what_openai_clients_read() -> None:
    whole = to_completion(called(WROTE))
    assert_golden("chat_calls", whole)
    assert ChatCompletion.model_validate(whole).choices[0].finish_reason == "tool_calls"


def test_a_cut_answer_says_so_whatever_it_called() -> None:
    cut = called(WROTE, choice={"finish_reason": "length"})
    [choice] = to_completion(cut)["choices"]
    assert (choice["finish_reason"], len(choice["message"]["tool_calls"])) == ("length", 2)


def calls_of(chunks: list[Any]) -> dict[tuple[int, int], Any]:
    """The calls that a stream told, by their answer and index."""
    choices = [chunk["choices"][0] for chunk in chunks]
    return {
        (c["index"], call.pop("index")): call for c in choices for call in c["delta"].get("tool_calls", ())
    }


def test_chunks_tell_words_and_whole_calls() -> None:
    stream, view = ChatChunkWriter(QUEUED, usage=False), called(WROTE)
    pieces = [WROTE[:20], WROTE[20:60], WROTE[60:]]
    said = [chunk for text in pieces for chunk in stream.piece({"text": text, "syntax": "hermes"})]
    chunks = [*stream.opening(1), *said, *stream.ending(result_of(view))]
    assert_golden("chat_call_chunks", chunks)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    whole = to_completion(view)["choices"][0]["message"]["tool_calls"]
    assert calls_of(chunks) == {(0, n): call for n, call in enumerate(whole)}


def test_each_of_several_answers_calls_for_itself_and_says_so_at_its_end() -> None:
    [one] = result_of(called(WROTE)).choices
    several = called(choices=(one, one.model_copy(update={"text": "Words."})))
    stream = ChatChunkWriter(several, usage=False)
    stream.opening(2)
    pieces = [(1, "Wor"), (0, WROTE[:30]), (1, "ds."), (0, WROTE[30:])]
    said = [c for n, text in pieces for c in stream.piece({"choice": n, "text": text, "syntax": "hermes"})]
    chunks = [*said, *stream.ending(result_of(several))]
    ends = [(c["choices"][0]["index"], c["choices"][0]["finish_reason"]) for c in chunks]
    assert [end for end in ends if end[1]] == [(0, "tool_calls"), (1, "stop")]
    whole = to_completion(several)["choices"]
    assert calls_of(chunks) == {(0, n): call for n, call in enumerate(whole[0]["message"]["tool_calls"])}
    assert [c["finish_reason"] for c in whole] == ["tool_calls", "stop"]


def test_calls_of_several_answers_are_never_taken_for_one_another() -> None:
    """A caller sends a call's id back with what it gave."""
    several = called(choices=result_of(called(WROTE)).choices * 2)
    whole, job = to_completion(several)["choices"], to_job(several)["result"]["choices"]
    stream = ChatChunkWriter(several, usage=False)
    chunks = [c for n in (1, 0) for c in stream.piece({"choice": n, "text": WROTE, "syntax": "hermes"})]
    told = {(n, i): call for n, c in enumerate(whole) for i, call in enumerate(c["message"]["tool_calls"])}
    assert calls_of(chunks) == told
    assert len({call["id"] for call in told.values()}) == 4
    assert len({call["id"] for choice in job for call in choice["tool_calls"]}) == 4


def test_a_job_tells_all_that_was_written_and_what_it_calls() -> None:
    result = to_job(called(WROTE))["result"]
    [choice] = result["choices"]
    assert (result["text"], choice["text"], choice["content"]) == (WROTE, WROTE, "Let me look.")
    assert (choice["finish_reason"], [c["function"]["name"] for c in choice["tool_calls"]]) == (
        "tool_calls",
        ["weather", "clock"],
    )
    assert "tool_calls" not in to_job(called("Words."))["result"]["choices"][0]


def test_an_event_of_a_job_tells_neither_how_its_model_calls_nor_what_only_we_need() -> None:
    data = {"syntax": "hermes", "prompt_tokens": 9, "start": 0, "text": "A", "ids": [1]}
    event = Event(3, "text", data, 1_700_000_000_000)
    assert set(to_event(event, succeeded())[2]) == {"job_id", "at", "start", "text", "ids"}
    assert "syntax" in event.data
