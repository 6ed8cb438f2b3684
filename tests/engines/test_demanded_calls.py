"""A call that is required is a call, whatever its schema says and whatever numbers the model writes."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from llguidance import LLMatcher, LLTokenizer

from api.dialects.openai.chat import from_chat
from shared.tool_calls.call import ParsedCall
from shared.tool_calls.parser import Reader
from shared.tool_calls.syntax import SYNTAXES, Syntax
from worker.engines.grammar.compiler import SPACING
from worker.engines.grammar.lark import quoted
from worker.engines.grammar.sandbox import matcher_error, start_matcher
from worker.engines.grammar.tool_calls import CallGrammar

TOKENIZER = LLTokenizer("byte")
WRITTEN: dict[Syntax, str] = {
    "hermes": '<tool_call>\n{"name": "f", "arguments": @}\n</tool_call>',
    "llama": '{"name": "f", "parameters": @}',
    "mistral": '[TOOL_CALLS] [{"name": "f", "arguments": @}]',
    "mistral_args": "[TOOL_CALLS]f[ARGS]@",
    "gemma": "<|tool_call>call:f@<tool_call|>",
}


def demanded(parameters: dict[str, Any], syntax: Syntax) -> LLMatcher:
    """From the request to the first token of the answer."""
    function = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    tools = from_chat(
        {"messages": [{"role": "user", "content": "Hi"}], "tools": [function], "tool_choice": "required"}
    ).request.tools
    assert tools is not None
    lark = CallGrammar(tools, syntax, None, SPACING).lark(quoted)
    matcher = start_matcher(TOKENIZER, LLMatcher.grammar_from_lark(lark))
    assert not matcher_error(matcher)
    return matcher


def takes(start: LLMatcher, text: str) -> bool:
    matcher = start.deep_copy()
    ids = TOKENIZER.tokenize_str(text)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"description": "Anything."},
        {"type": ["object", "null"]},
        {"anyOf": [{"type": "object"}, {"type": "null"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": ["null", "object"]}}},
    ],
)
def test_arguments_are_an_object_where_their_schema_would_take_more(
    syntax: Syntax, parameters: dict[str, Any]
) -> None:
    start = demanded(parameters, syntax)
    assert takes(start, WRITTEN[syntax].replace("@", "{}"))
    for value in ("null", "0.94", '"kC"', "[]", '<|"|>kC<|"|>'):
        assert not takes(start, WRITTEN[syntax].replace("@", value)), value


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("number", ["1e999", "-4E400", "9" * 400, "-" + "9" * 5000])
def test_a_call_with_a_number_that_no_double_is_stays_a_call(syntax: Syntax, number: str) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    arguments = f"{{x:{number}}}" if syntax == "gemma" else f'{{"x": {number}}}'
    text = WRITTEN[syntax].replace("@", arguments)
    assert takes(demanded(schema, syntax), text)
    reader = Reader(syntax)
    [called] = [*reader.feed(text), *reader.close()]
    assert isinstance(called, ParsedCall)
    Draft202012Validator(schema).validate(json.loads(called.arguments, parse_constant=pytest.fail))
