"""Functions that a request shows, calls that it sends back, and answers that call."""

import json
from dataclasses import replace
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from api.dialects.native.job_requests import from_job
from api.dialects.native.jobs import to_event, to_job
from api.dialects.openai.chat import ChatChunkWriter, from_chat, to_completion
from shared.cache_key import request_hash
from shared.errors import CallerError
from shared.job import Event, JobView
from shared.request import Function, Message, Text, ToolCall, Tools
from tests.support.golden import assert_golden
from tests.support.mutations import refusals
from tests.support.tools import CLOCK, WEATHER
from tests.support.views import QUEUED, succeeded

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
NO_OBJECT = ("invalid_request", "tools[0].function.parameters.type")
WROTE = (
    'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>'
    '\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
)


def called(text: str = WROTE, **changes: Any) -> JobView:
    view = succeeded(text)
    assert view.result is not None
    return replace(view, result=view.result.model_copy(update={"syntax": "hermes", **changes}))


def strict(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {**tool["function"], "strict": True}}


def test_functions_and_calls_of_a_chat_are_read() -> None:
    request = from_chat(FULL).request

    assert request.tools == Tools(
        functions=(
            Function(
                name="weather",
                description="The weather of a city.",
                parameters=SCHEMA,
                strict_schema=SCHEMA,
            ),
            Function(name="clock", parameters='{"type":"object","properties":{}}'),
        ),
        required=True,
        named="weather",
        parallel=False,
    )
    assert request.messages == (
        Message(role="user", parts=(Text(text="How is Oslo?"),)),
        Message(
            role="assistant",
            parts=(),
            calls=(ToolCall(id="call_1", name="weather", arguments='{"unit":"c","city":"Oslo"}'),),
        ),
        Message(role="tool", parts=(Text(text="Rain."),), answers="call_1", param="messages[2].tool_call_id"),
    )
    assert request.messages[2].param == "messages[2].tool_call_id"


def test_a_job_shows_functions_as_a_chat_does() -> None:
    assert from_job({"model": "m", **FULL}).request.tools == from_chat(FULL).request.tools


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
def test_arguments_are_held_to_their_schema_where_that_is_promised(
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


def call(**changes: Any) -> dict[str, Any]:
    made = {"id": "1", "function": {"name": "f", "arguments": "{}"}} | changes
    return {"messages": [ASK, {"role": "assistant", "tool_calls": [made]}]}


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"tools": {}}, "invalid_request", "tools"),
        ({"tools": ["f"]}, "invalid_request", "tools[0]"),
        ({"tools": [{"type": "function"}]}, "invalid_request", "tools[0].function"),
        ({"tools": [CLOCK] * 129}, "invalid_request", "tools"),
        ({"tools": [CLOCK, CLOCK]}, "invalid_request", "tools[1].function.name"),
        (function(name="a b"), "invalid_request", "tools[0].function.name"),
        (function(name=""), "invalid_request", "tools[0].function.name"),
        (function(parameters=[]), "invalid_request", "tools[0].function.parameters"),
        (function(strict=True, parameters={"type": "string"}), *NO_OBJECT),
        (
            function(strict=True, parameters={"type": "object", "properties": {"a": {"not": {}}}}),
            "unsupported_parameter",
            "tools[0].function.parameters.properties.a.not",
        ),
        ({"tool_choice": "required"}, "invalid_request", "tool_choice"),
        ({"tool_choice": "some", "tools": [CLOCK]}, "invalid_request", "tool_choice"),
        ({"tool_choice": {"function": {"name": "f"}}, "tools": [CLOCK]}, "invalid_request", "tool_choice"),
        ({"tool_choice": {"type": "function"}, "tools": [CLOCK]}, "invalid_request", "tool_choice.function"),
        (call(id=""), "invalid_request", "messages[1].tool_calls[0].id"),
        (call(type="custom", function=None), "unsupported_parameter", "messages[1].tool_calls[0].type"),
        (
            call(function={"name": "f", "arguments": "[1]"}),
            "invalid_request",
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            call(function={"name": "f", "arguments": '{"a":'}),
            "invalid_request",
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            {"messages": [{**ASK, "tool_calls": [CALL]}]},
            "invalid_request",
            "messages[0].tool_calls",
        ),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "invalid_request",
            "messages[0].tool_call_id",
        ),
        (
            {"messages": TURNS[:2], "continue_final_message": True},
            "invalid_request",
            "continue_final_message",
        ),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(CallerError) as refused:
        from_chat({"messages": [ASK]} | change)
    assert (refused.value.code, refused.value.param) == (code, param)


def test_a_call_keeps_an_id_of_any_length_that_is_promised() -> None:
    def turns(id: str) -> dict[str, Any]:
        answer = {"role": "tool", "tool_call_id": id, "content": "Rain."}
        return {"messages": [ASK, {"role": "assistant", "tool_calls": [CALL | {"id": id}]}, answer]}

    [_, assistant, answer] = from_chat(turns("i" * 256)).request.messages
    assert (assistant.calls[0].id, answer.answers) == ("i" * 256, "i" * 256)
    with pytest.raises(CallerError) as refused:
        from_chat(turns("i" * 257))
    assert refused.value.param == "messages[1].tool_calls[0].id"


def test_no_broken_body_is_answered_with_a_server_error() -> None:
    assert len(refusals(from_chat, FULL)) > 200


def test_what_a_call_is_named_changes_no_answer() -> None:
    def hashed(first: str, second: str, answered: str) -> str:
        turns = [
            ASK,
            {"role": "assistant", "tool_calls": [CALL | {"id": first}, CALL | {"id": second}]},
            {"role": "tool", "tool_call_id": answered, "content": "Rain."},
        ]
        return request_hash(from_chat({"messages": turns}).request, "main")

    assert hashed("a", "b", "b") == hashed("x", "y", "y") == hashed("a", "a", "a")
    assert hashed("a", "b", "b") != hashed("a", "b", "a")


@pytest.mark.parametrize(
    "change",
    [
        {"tools": [CLOCK, WEATHER]},
        {"tools": [WEATHER]},
        {"tools": [strict(WEATHER), CLOCK]},
        {"tool_choice": "required"},
        {"parallel_tool_calls": False},
        {"messages": [*TURNS[:2], {**TURNS[2], "content": "Sun."}]},
    ],
)
def test_another_question_of_functions_is_another_answer(change: dict[str, Any]) -> None:
    asked = {"messages": TURNS, "tools": [WEATHER, CLOCK]}
    before, after = (request_hash(from_chat(body).request, "main") for body in (asked, asked | change))
    assert before != after


def test_an_answer_to_no_call_is_refused_where_it_is_hashed() -> None:
    turn = {**TURNS[2], "tool_call_id": "call_2"}
    with pytest.raises(CallerError) as refused:
        request_hash(from_chat({"messages": [*TURNS[:2], turn]}).request, "main")
    assert (refused.value.code, refused.value.param) == ("invalid_request", "messages[2].tool_call_id")


def test_an_answer_that_calls_is_what_openai_clients_read() -> None:
    whole = to_completion(called(), "org/model", 1_700_000_000)
    assert_golden("chat_calls", whole)
    assert ChatCompletion.model_validate(whole).choices[0].finish_reason == "tool_calls"


def test_a_cut_answer_says_so_whatever_it_called() -> None:
    view = called()
    assert view.result is not None
    cut = view.result.choices[0].model_copy(update={"finish_reason": "length"})
    [choice] = to_completion(called(choices=(cut,)), "m", 0)["choices"]
    assert (choice["finish_reason"], len(choice["message"]["tool_calls"])) == ("length", 2)


def test_an_answer_in_words_has_no_calls() -> None:
    [choice] = to_completion(called("No <tool"), "m", 0)["choices"]
    assert (choice["message"], choice["finish_reason"]) == (
        {"role": "assistant", "content": "No <tool", "refusal": None},
        "stop",
    )


def test_chunks_tell_words_and_whole_calls() -> None:
    stream = ChatChunkWriter(QUEUED, usage=False)
    pieces = [WROTE[:20], WROTE[20:60], WROTE[60:]]
    said = [chunk for text in pieces for chunk in stream.piece({"text": text, "syntax": "hermes"})]
    view = called()
    assert view.result is not None
    chunks = [*stream.opening(1), *said, *stream.ending(view.result)]
    assert_golden("chat_call_chunks", chunks)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    whole = to_completion(view, "org/model", 0)["choices"][0]["message"]["tool_calls"]
    told = [c for chunk in chunks for c in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [{n: v for n, v in c.items() if n != "index"} for c in told] == whole


def test_each_of_three_streamed_calls_keeps_its_own_arguments() -> None:
    """Clients put the pieces of calls together by their index."""
    calls = [f'<tool_call>\n{{"name": "clock", "arguments": {{"n": {n}}}}}\n</tool_call>' for n in range(3)]
    stream = ChatChunkWriter(QUEUED, usage=False)
    stream.opening(1)
    chunks = [chunk for text in calls for chunk in stream.piece({"text": text, "syntax": "hermes"})]
    sent = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [(call["index"], json.loads(call["function"]["arguments"])) for call in sent] == [
        (0, {"n": 0}),
        (1, {"n": 1}),
        (2, {"n": 2}),
    ]
    whole = to_completion(called("\n".join(calls)), "m", 0)["choices"][0]["message"]["tool_calls"]
    assert [call["id"] for call in sent] == [call["id"] for call in whole]


def test_each_of_several_answers_calls_for_itself() -> None:
    view = called()
    assert view.result is not None
    [one] = view.result.choices
    several = called(choices=(one, one.model_copy(update={"text": "Words."})))
    stream = ChatChunkWriter(succeeded(), usage=False)
    stream.opening(2)
    pieces = [(1, "Wor"), (0, WROTE[:30]), (1, "ds."), (0, WROTE[30:])]
    said = [c for n, text in pieces for c in stream.piece({"choice": n, "text": text, "syntax": "hermes"})]
    assert several.result is not None
    chunks = [chunk["choices"][0] for chunk in [*said, *stream.ending(several.result)]]
    assert [c["index"] for c in chunks if "tool_calls" in c["delta"]] == [0, 0]
    assert [(c["index"], c["finish_reason"]) for c in chunks if c["finish_reason"]] == [
        (0, "tool_calls"),
        (1, "stop"),
    ]
    whole = to_completion(several, "m", 0)["choices"]
    ids = [c["delta"]["tool_calls"][0]["id"] for c in chunks if "tool_calls" in c["delta"]]
    assert ids == [c["id"] for c in whole[0]["message"]["tool_calls"]]
    assert [c["finish_reason"] for c in whole] == ["tool_calls", "stop"]


def test_calls_of_several_answers_are_never_taken_for_one_another() -> None:
    """A caller sends a call's id back with what it gave."""
    view = called()
    assert view.result is not None
    [one] = view.result.choices
    several = called(choices=(one, one))
    whole, job = to_completion(several, "m", 0)["choices"], to_job(several)["result"]["choices"]
    stream = ChatChunkWriter(several, usage=False)
    chunks = [c for n in (1, 0) for c in stream.piece({"choice": n, "text": WROTE, "syntax": "hermes"})]
    streamed = {
        (chunk["choices"][0]["index"], call["index"]): call["id"]
        for chunk in chunks
        for call in chunk["choices"][0]["delta"].get("tool_calls", ())
    }
    ids = [[call["id"] for call in choice["message"]["tool_calls"]] for choice in whole]
    assert len({*ids[0], *ids[1]}) == 4
    assert streamed == {(n, i): id for n, own in enumerate(ids) for i, id in enumerate(own)}
    own = [call["id"] for choice in job for call in choice["tool_calls"]]
    assert len(set(own)) == 4


def test_a_job_tells_all_that_was_written_and_what_it_calls() -> None:
    result = to_job(called())["result"]
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
