"""Calls of functions in OpenAI's Responses: as items that come in, go out and are listed, and as events."""

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from openai.types.responses import Response, ResponseItem, ResponseStreamEvent
from pydantic import TypeAdapter

from api.dialects.openai.response_events import ResponseEventWriter
from api.dialects.openai.response_items import continued, input_items, page, to_item_list
from api.dialects.openai.response_object import StoredResponse, to_response
from api.dialects.openai.responses import from_response
from api.dialects.tools import NOTHING
from shared.job import Event, JobView
from shared.request import Message, Text, ToolCall
from shared.result import Candidate, TokenLogprob
from shared.tool_calls.numbering import numbers
from tests.support.golden import assert_golden
from tests.support.refusal import refusal
from tests.support.tools import CLOCK, WEATHER
from tests.support.views import QUEUED, answered, result_of

TOOLS = [{"type": "function", **tool["function"]} for tool in (WEATHER, CLOCK)]
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "clock", "arguments": "{}"}
GIVEN = {"type": "function_call_output", "call_id": "call_1", "output": "Noon."}
ASKED: dict[str, Any] = {
    "input": [
        {"role": "user", "content": "How late is it?"},
        {"role": "assistant", "content": "Let me look."},
        CALL,
        GIVEN,
    ],
    "tools": TOOLS,
}
WROTE = (
    'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>'
    '\n<tool_call>\n{"name": "clock"}\n</tool_call>'
)
CLOCK_CALL = '<tool_call>{"name": "clock"}</tool_call>'
MIXED = f"I look.\n{CLOCK_CALL}\nDone.\n{CLOCK_CALL}"
called = partial(answered, syntax="hermes")
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ITEM: TypeAdapter[Any] = TypeAdapter(ResponseItem)


def stored(view: JobView = QUEUED, **asked: Any) -> StoredResponse:
    call = from_response({**ASKED, **asked})
    return StoredResponse(view, call.request, call.fields)


def story(text: str, *pieces: str) -> list[Any]:
    told = ResponseEventWriter(stored())
    events = [Event(2, "running", {"attempt": 1}, 0)]
    events += [Event(3 + n, "text", {"text": piece, "syntax": "hermes"}, 0) for n, piece in enumerate(pieces)]
    said = [*told.opening(), *(t for event in events for t in told.events(event))]
    return [*said, *told.ending(called(text))]


def test_calls_and_what_they_gave_are_turns_of_the_conversation() -> None:
    request = from_response(ASKED).request

    call = ToolCall(id="call_1", name="clock", arguments="{}")
    assert request.messages == (
        Message(role="user", parts=(Text(text="How late is it?"),)),
        Message(role="assistant", parts=(Text(text="Let me look."),), calls=(call,)),
        Message(role="tool", parts=(Text(text="Noon."),), answers="call_1"),
    )
    assert request.tools is not None
    assert [f.name for f in request.tools.functions] == ["weather", "clock"]


def test_a_call_that_openai_s_types_dumped_comes_back() -> None:
    nulls = dict.fromkeys(("async_", "caller", "namespace", "status"))
    items = [*ASKED["input"][:2], {**CALL, **nulls}, {**GIVEN, **nulls, "name": "clock"}]
    assert from_response({**ASKED, "input": items}).request == from_response(ASKED).request


@pytest.mark.parametrize("callers", [[], ["direct"]])
def test_what_openai_s_functions_say_by_default_asks_for_nothing(callers: list[str]) -> None:
    dumped = [tool | {"defer_loading": False, "allowed_callers": callers, "async": False} for tool in TOOLS]
    assert from_response({**ASKED, "tools": dumped}).request == from_response(ASKED).request


def test_a_call_without_words_before_it_is_a_turn_of_its_own() -> None:
    request = from_response({"input": [CALL, GIVEN]}).request
    assert [(m.role, m.parts, len(m.calls)) for m in request.messages[:1]] == [("assistant", (), 1)]


@pytest.mark.parametrize(
    ("item", "code", "field"),
    [
        ({**CALL, "name": None}, "invalid_request", "name"),
        ({**GIVEN, "output": 5}, "invalid_request", "output"),
        ({**CALL, "namespace": "crm"}, "unsupported_parameter", "namespace"),
        ({**CALL, "async": True}, "unsupported_parameter", "async"),
        ({**GIVEN, "caller": {"type": "program", "caller_id": "c"}}, "unsupported_parameter", "caller"),
    ],
)
def test_a_wrong_field_of_an_item_is_named(item: dict[str, Any], code: str, field: str) -> None:
    assert refusal(from_response, {"input": [item]}) == (code, f"input[0].{field}")


def test_a_response_that_calls_is_what_openai_clients_read() -> None:
    told = to_response(stored(called(WROTE), tool_choice="required", parallel_tool_calls=False))
    assert_golden("response_calls", told)
    read = Response.model_validate(told)
    assert [item.type for item in read.output] == ["message", "function_call", "function_call"]
    assert read.output_text == "Let me look."


@pytest.mark.parametrize("tools", [TOOLS, [], None])
def test_a_response_tells_the_choice_and_the_functions_that_it_was_sent(tools: list[Any] | None) -> None:
    asked: dict[str, Any] = {"tools": tools, "tool_choice": "none", "parallel_tool_calls": False}
    told: Any = to_response(stored(**asked))
    default = {"description": None, "parameters": NOTHING, "strict": False}
    assert {name: told[name] for name in asked} == asked | {"tools": [default | t for t in tools or []]}
    assert Response.model_validate(to_response(stored(called(WROTE), **asked))).tool_choice == "none"
    assert to_response(stored(tools=tools, parallel_tool_calls=False))["parallel_tool_calls"] is False


@pytest.mark.parametrize("step", [1, 7, 200])
@pytest.mark.parametrize(
    "text", [WROTE, MIXED, f"{CLOCK_CALL * 2}Wait.", f"Words. {CLOCK_CALL}", CLOCK_CALL, "Words."]
)
def test_a_client_that_builds_its_turn_from_a_stream_has_the_same_items(text: str, step: int) -> None:
    """LangChain writes down what it hears as it comes: an item that ended late was a turn that never was."""
    told = story(text, *(text[at : at + step] for at in range(0, len(text), step)))
    for event in told:
        EVENT.validate_python(event)
    final = told[-1]["response"]["output"]
    bounds = [(e["type"][21:], e["item"]) for e in told if e["type"].startswith("response.output_item.")]
    assert [kind for kind, _ in bounds] == ["added", "done"] * len(final), "one began before another was over"
    assert [item for kind, item in bounds if kind == "done"] == final
    assert len({item["id"] for item in final}) == len(final)
    assert [item["id"] for kind, item in bounds if kind == "added"] == [item["id"] for item in final]
    for item in final:
        own = [event for event in told if event.get("item_id") == item["id"]]
        said = "".join(e["delta"] for e in own if e["type"] == "response.output_text.delta")
        assert {e["output_index"] for e in own} == {final.index(item)}
        done = [e["arguments"] for e in own if e["type"].endswith("arguments.done")]
        assert done == ([item["arguments"]] if item["type"] == "function_call" else [])
        assert said == (item["content"][0]["text"] if item["type"] == "message" else "")


def test_words_behind_a_call_come_back_as_the_one_turn_that_they_were() -> None:
    """A template may refuse two turns of the assistant in a row; sent back or gone on from is the same."""
    view = called(MIXED)
    then = from_response({"input": [GIVEN]})
    by_name = continued(then.request, then.fields, stored(view), result_of(view)).messages[-2]
    given = [GIVEN | {"call_id": call.id} for call in by_name.calls]
    sent = from_response({"input": [*to_response(stored(view))["output"], *given]}).request.messages[0]
    assert by_name.parts == (Text(text="I look.\n\nDone."),)
    assert sent == by_name


def test_each_message_of_an_answer_has_the_logprobs_of_its_own_words() -> None:
    cuts = [0, 3, 9, 30, 47, 50, 53, 70, len(MIXED)]
    pieces = [MIXED[a:b] for a, b in pairwise(cuts)]
    logprobs = tuple(TokenLogprob(a, Candidate(p, -0.5), ()) for a, p in zip(cuts, pieces, strict=False))
    view = called(MIXED, choice={"logprobs": logprobs})
    told = ResponseEventWriter(stored())
    texts = [{"text": p, "syntax": "hermes", "logprobs": [n]} for p, n in zip(pieces, logprobs, strict=True)]
    events = [t for n, data in enumerate(texts) for t in told.events(Event(n, "text", data, 0))]
    last = [*events, *told.ending(view)][-1]["response"]["output"]
    parts = [item["content"][0] for item in last if item["type"] == "message"]
    done = [event["part"] for event in events if event["type"] == "response.content_part.done"]
    deltas = [n for e in events if e["type"] == "response.output_text.delta" for n in e["logprobs"]]
    names = [[n["token"] for n in part["logprobs"]] for part in parts]
    assert names == [pieces[:2], pieces[5:7]]
    assert done == parts
    assert deltas == [n for part in parts for n in part["logprobs"]]


def test_the_next_turn_answers_the_calls_of_the_response_before() -> None:
    before = stored(called(WROTE))
    output: Any = to_response(before)["output"]
    [item] = [i for i in output if i.get("name") == "weather"]
    call = from_response({"input": [{**GIVEN, "call_id": item["call_id"]}], "previous_response_id": "resp_0"})
    question = continued(call.request, call.fields, before, result_of(before.job))

    assert [m.role for m in question.messages[-2:]] == ["assistant", "tool"]
    assert question.messages[-2].parts == (Text(text="Let me look."),)
    assert numbers(question.messages)[-2:] == [(1, 2), (1,)]


def test_the_items_of_the_input_are_listed_as_openai_clients_read_them() -> None:
    items, more = page(input_items(stored()), limit=20, after=None, ascending=True)
    listed: Any = to_item_list(items, more, {})
    kinds = [item["type"] for item in listed["data"]]
    assert kinds == ["message", "message", "function_call", "function_call_output"]
    assert len({item["id"] for item in listed["data"]}) == 4
    for item in listed["data"]:
        ITEM.validate_python(item)
