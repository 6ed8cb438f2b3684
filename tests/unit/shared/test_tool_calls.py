"""Calls of functions read out of what a model writes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.request import Message, Text, ToolCall
from shared.tool_calls.call import ParsedCall
from shared.tool_calls.numbering import numbers
from shared.tool_calls.parser import Reader
from shared.tool_calls.syntax import SYNTAXES, Syntax, syntax_of
from tests.support.tools import TEMPLATES

Read = tuple[str, list[tuple[str, str]]]
HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
ARGS = '[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}'
LLAMA = '{"name": "weather", "parameters": {"city": "Oslo"}}'
OSLO = ("weather", '{"city": "Oslo"}')
ENDING, BROKEN = ("say", '{"t": "</tool_call>"}'), ("say", '{"t": "\ufffd \u00e9"}')
CLOCK, SAID = ("clock", "{}"), ("say", '{"t": "<tool_call|>"}')
CALLS: dict[Syntax, dict[str, Read]] = {
    "hermes": {
        HERMES: ("", [OSLO]),
        f"Let me look.\n\n{HERMES}\n{HERMES}": ("Let me look.", [OSLO, OSLO]),
        f"{HERMES}\n And then.\n": ("And then.\n", [OSLO]),
        f"\n{HERMES}\nOne.\n{HERMES} {HERMES} Two. {HERMES}\n": ("One.\n  Two.", [OSLO] * 4),
        '<tool_call>{"name": "clock"}</tool_call>': ("", [CLOCK]),
        '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}</tool_call>': ("", [OSLO]),
        '<tool_call>{"name": "say", "arguments": {"t": "</tool_call>"}}</tool_call>': ("", [ENDING]),
        '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}': ("", [OSLO]),
        '<tool_call>{"name": "say", "arguments": {"t": "\\ud800 \u00e9"}}</tool_call>': ("", [BROKEN]),
    },
    "llama": {
        LLAMA: ("", [OSLO]),
        f'<|python_tag|>{LLAMA}; {{"name": "clock", "parameters": {{}}}}': ("", [OSLO, CLOCK]),
    },
    "mistral": {
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Oslo"}}, '
        '{"name": "clock", "arguments": {}, "id": "abcdefghi"}]': ("", [OSLO, CLOCK]),
    },
    "mistral_args": {f"Wait.{ARGS}[TOOL_CALLS]clock[CALL_ID]abcdefghi[ARGS]{{}}": ("Wait.", [OSLO, CLOCK])},
}
WORDS: dict[Syntax, list[str]] = {
    "hermes": [
        '<tool_call>{"name": "weather", "argu',
        "Tags like <tool_call>this</tool_call> are words.",
        '<tool_call>{"name": "clock", "arguments": [NaN]}</tool_call>',
        *("a <tool", "  blanks stay \n", ""),
    ],
    "llama": [f"So: {LLAMA}", '{"answer": 42} is all.', '{"name": "weather"', "<|python"],
    "mistral": ["So [TOOL_CALLS] none"],
    "mistral_args": ['[TOOL_CALLS]weather[ARGS]{"city": "Os'],
}
EVERY: list[tuple[Syntax, str, Read]] = [
    *((syntax, text, meant) for syntax, calls in CALLS.items() for text, meant in calls.items()),
    *((syntax, text, (text, [])) for syntax, texts in WORDS.items() for text in texts),
]


@pytest.mark.parametrize(
    ("turns", "answered"),
    [
        ([["a", "b"], "b", "a"], [1, 0]),
        ([["a", "a"], "a", "a"], [0, 1]),
        ([["a"], "a", ["a"], "a"], [0, 1]),
        ([["a"], ["a"], "a"], [1]),
        ([["a"], ["b"], "a", "b"], [0, 1]),
        ([["", ""], "", ""], [0, 1]),
        ([["a", "b"], "", "b"], [0, 1]),
        ([["a", ""], "x", "a"], [1, 0]),
        ([["a"], "a", "a"], [0, 0]),
        (["a", ["a"], "b"], [None, None]),
    ],
)
def test_results_find_their_calls_by_id_and_by_turn(
    turns: list[list[str] | str], answered: list[Any]
) -> None:
    messages = [
        Message(role="tool", parts=(Text(text="x"),), answers=turn or None)
        if isinstance(turn, str)
        else Message(
            role="assistant",
            parts=(),
            calls=tuple(ToolCall(id=id, name="f", arguments="{}") for id in turn),
        )
        for turn in turns
    ]
    found = zip(messages, numbers(messages), strict=True)
    assert [next(iter(called), None) for message, called in found if message.role == "tool"] == answered


def read(syntax: Syntax, *pieces: str) -> Read:
    reader = Reader(syntax)
    said = [found for piece in pieces for found in reader.feed(piece)]
    said += reader.close()
    words = [found for found in said if isinstance(found, str)]
    return "".join(words), [(found.name, found.arguments) for found in said if isinstance(found, ParsedCall)]


@pytest.mark.parametrize(("syntax", "text", "meant"), EVERY)
def test_an_answer_is_taken_apart_into_words_and_calls(syntax: Syntax, text: str, meant: Read) -> None:
    assert read(syntax, text) == meant


@given(st.data())
def test_a_stream_says_and_calls_what_the_whole_answer_does(data: st.DataObject) -> None:
    syntax, text, meant = data.draw(st.sampled_from(EVERY))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(syntax, *pieces) == meant


@pytest.mark.parametrize(("syntax", "text", "meant"), [case for case in EVERY if case[2][1]])
def test_no_letter_of_a_call_is_shown_as_words(syntax: Syntax, text: str, meant: Read) -> None:
    assert read(syntax, *text) == meant


def test_what_can_be_no_call_any_more_is_told_at_once() -> None:
    reader = Reader("hermes")
    assert reader.feed("Is 1 <") == ["Is 1"]
    assert reader.feed(" 2?") == [" < 2?"]


def test_a_call_is_told_when_it_is_whole_and_not_at_the_end() -> None:
    assert Reader("hermes").feed(f"{HERMES} and") == [ParsedCall(*OSLO), "and"]


def test_a_nest_of_brackets_is_words_and_no_crash() -> None:
    text = '<tool_call>{"name": "f", "arguments": ' + "[" * 100_000 + "]" * 100_000 + "}</tool_call>"
    assert read("hermes", text) == (text, [])


@pytest.mark.parametrize(
    ("syntax", "text"),
    [
        ("hermes", '<tool_call>{"name": "f", "arguments": {"t": "' + "</tool_call>" * 8_000),
        ("hermes", '<tool_call>{"a\\"' * 8_000),
        ("mistral", "[TOOL_CALLS]" * 8_000),
        ("llama", '{"name": "f", "parameters": {"t": "' + "}" * 90_000),
    ],
)
def test_an_answer_made_to_keep_its_reader_busy_is_read_in_time(syntax: Syntax, text: str) -> None:
    pieces = [text[at : at + 20] for at in range(0, len(text), 20)]
    assert read(syntax, *pieces) == (text, [])


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_template_tells_how_its_model_calls(syntax: Syntax) -> None:
    assert syntax_of(TEMPLATES[syntax]) == syntax


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        '{# tools #}{% for m in messages %}<tool_call>{{ m.content }} "arguments"{% endfor %}',
        '{% if tools %}{{ tools }}{% endif %}<tool_call><function=x>"arguments"</tool_call>',
        '{% if tools %}{{ tools }}{% endif %}<tool_call>x<arg_key>"arguments"</tool_call>',
        "{% if tools %}{{ tools }}{% endif %}[f(x=1)]",
    ],
)
def test_a_template_with_no_place_for_functions_or_another_form_takes_none(template: str) -> None:
    assert syntax_of(template) == ""


def test_quotes_inside_of_a_templates_strings_are_read() -> None:
    template = '{{- "<tool_call>\\n{\\"name\\": <n>, \\"arguments\\": <o>}\\n</tool_call>" if tools }}'
    assert syntax_of(template) == "hermes"
