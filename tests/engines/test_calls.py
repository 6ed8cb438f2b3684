"""Answers limited to calls of functions: by the grammar of each form, and by engines with a random model."""

import json
import threading
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from llguidance import LLMatcher
from transformers import PreTrainedTokenizerFast

from api.dialects.openai.chat import from_chat
from shared.models import Model
from shared.request import Format, Function, Message, Parameters, Request, Text, Tools
from shared.result import Piece
from shared.tool_calls.call import ParsedCall
from shared.tool_calls.parser import AnswerPart, Reader
from shared.tool_calls.syntax import MARKS, SYNTAXES, Syntax
from tests.engines.suite import refused
from tests.support.families.family import Family
from tests.support.families.llava import calling
from tests.support.families.tokens import END, byte_tokenizer, token_id
from tests.support.grammars import accepted_by
from tests.support.tools import TEMPLATES
from worker.engines.base import Engine, Finish, Row
from worker.engines.echo import EchoEngine
from worker.engines.grammar.compiler import SPACING, Grammars
from worker.engines.grammar.lark import quoted
from worker.engines.grammar.tool_calls import CallGrammar
from worker.engines.registry import create

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 6},
        "days": {"type": "integer", "minimum": 1, "maximum": 5},
        "unit": {"enum": ["c", "f", None]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
        "near": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/place"}]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"km": {"type": "number"}, "by": {"$ref": "#/$defs/place"}},
            "required": ["km"],
            "additionalProperties": False,
        }
    },
}
WEATHER = Function(name="weather", parameters=json.dumps(SCHEMA), strict_schema=json.dumps(SCHEMA))
CLOCK = Function(name="clock", parameters='{"type":"object"}')
BOTH = Tools(functions=(WEATHER, CLOCK))
ONE: dict[Syntax, str] = {
    "hermes": '<tool_call>\n{"name": "clock", "arguments": {"at": 1}}\n</tool_call>',
    "llama": '{"name": "clock", "parameters": {"at": 1}}',
    "mistral": '[TOOL_CALLS] [{"name": "clock", "arguments": {"at": 1}}]',
    "mistral_args": '[TOOL_CALLS]clock[ARGS]{"at": 1}',
}
TWO: dict[Syntax, str] = {
    "hermes": f"{ONE['hermes']}\n{ONE['hermes']}",
    "mistral": '[TOOL_CALLS] [{"name": "clock", "arguments": {}, "id": "abcdefghi"}, '
    '{"name": "clock", "arguments": {}}]',
    "mistral_args": ONE["mistral_args"] + "[TOOL_CALLS]clock[CALL_ID]abcdefghi[ARGS]{}",
}
HELD: dict[Syntax, str] = {
    "hermes": '<tool_call>\n{"name": "weather", "arguments": @}\n</tool_call>',
    "llama": '{"name": "weather", "parameters": @}',
    "mistral": '[TOOL_CALLS] [{"name": "weather", "arguments": @}]',
    "mistral_args": "[TOOL_CALLS]weather[ARGS]@",
}
JSON = (
    '{"city": "Oslo", "days": 3, "unit": "c", "tags": ["a", "b"], "near": {"km": 1.5, "by": {"km": 2}}}',
    '{"city": "Oslo", "unit": null}',
)
NO_JSON = (
    '{"city": "Trondheim", "unit": "c"}',
    '{"city": "Oslo", "days": 7, "unit": "c"}',
    '{"city": "Oslo", "unit": "k"}',
    '{"city": "Oslo"}',
)


@pytest.fixture(params=[True, False], ids=["tokens", "letters"])
def marked(request: pytest.FixtureRequest) -> bool:
    """Whether the marks of calls are tokens of their own."""
    return bool(request.param)


@cache
def grammars(syntax: Syntax, marked: bool) -> tuple[PreTrainedTokenizerFast, Grammars]:
    tokenizer = byte_tokenizer(*(MARKS[syntax] if marked else ()))
    return tokenizer, Grammars(tokenizer, [token_id(tokenizer, END)])


def check(syntax: Syntax, marked: bool, text: str, tools: Tools, form: Format | None = None) -> bool:
    """Whether it is a whole answer."""
    tokenizer, made = grammars(syntax, marked)
    matcher = made.calls(CallGrammar(tools, syntax, form, SPACING))
    ids = tokenizer.encode(text, add_special_tokens=False)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def required(**changes: Any) -> Tools:
    return BOTH.model_copy(update={"required": True, **changes})


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_has_to_be_called_is_called_without_a_word(syntax: Syntax, marked: bool) -> None:
    assert check(syntax, marked, ONE[syntax], required())
    assert not check(syntax, marked, "No.", required())
    assert not check(syntax, marked, f"So: {ONE[syntax]}", required())
    assert not check(syntax, marked, ONE[syntax].replace("clock", "watch"), required())


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_function_that_is_named_is_the_one_that_is_called(syntax: Syntax, marked: bool) -> None:
    assert check(syntax, marked, ONE[syntax], required(named="clock"))
    assert not check(syntax, marked, ONE[syntax], required(named="weather"))


@pytest.mark.parametrize("syntax", [s for s in SYNTAXES if s in TWO])
def test_several_are_called_only_where_that_is_allowed(syntax: Syntax, marked: bool) -> None:
    assert check(syntax, marked, TWO[syntax], required())
    assert not check(syntax, marked, TWO[syntax], required(parallel=False))
    assert not check(syntax, marked, TWO[syntax], required(named="clock"))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_words_may_stand_where_nothing_has_to_be_called(syntax: Syntax, marked: bool) -> None:
    assert check(syntax, marked, "No.", BOTH)
    assert check(syntax, marked, "", BOTH)
    assert check(syntax, marked, ONE[syntax], BOTH)
    assert check(syntax, marked, f"So: {ONE[syntax]}", BOTH)
    watch = ONE[syntax].replace("clock", "watch")
    assert not check(syntax, marked, watch, BOTH), "no function of that name was shown"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_answer_that_calls_nothing_has_the_form_that_was_wanted(syntax: Syntax, marked: bool) -> None:
    schema = '{"type":"object","properties":{"a":{"type":"boolean"}}}'
    for form, right in (
        (Format(kind="json", content=schema), '{"a": true}'),
        (Format(kind="choice", content='["cat","dog"]'), "dog"),
    ):
        assert check(syntax, marked, right, BOTH, form)
        assert check(syntax, marked, ONE[syntax], BOTH, form)
        assert not check(syntax, marked, "No.", BOTH, form)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_arguments_are_of_the_schema_in_every_form(syntax: Syntax, marked: bool) -> None:
    for given in JSON:
        text = HELD[syntax].replace("@", given)
        assert check(syntax, marked, text, BOTH), text
        [called] = read(syntax, text)
        assert isinstance(called, ParsedCall)
        Draft202012Validator(SCHEMA).validate(json.loads(called.arguments))
    for given in NO_JSON:
        assert not check(syntax, marked, HELD[syntax].replace("@", given), BOTH), given


def test_a_schema_that_no_arguments_are_of_is_refused_by_its_place() -> None:
    tools = Tools(functions=(WEATHER.model_copy(update={"strict_schema": '{"$ref":"#/no"}'}),), required=True)
    with refused("invalid_request", "tools", match="held to these schemas"):
        check("hermes", False, "", tools)


def test_the_echo_engine_calls_what_its_question_says_and_has_no_grammar() -> None:
    engine = EchoEngine(Model(id="e", engine="echo"))
    request = question(ONE["hermes"], BOTH.model_copy(update={"functions": (CLOCK,)}))
    prompt = engine.prepare(request, [])
    finish = engine.generate(Row(prompt, request.parameters, lambda _: None, threading.Event()))
    assert engine.facts.tools == prompt.syntax == "hermes"
    assert read("hermes", finish.text) == [ParsedCall("clock", '{"at": 1}')]
    with refused("unsupported_parameter", "tools"):
        engine.grammar(question("Hi", required()))


def question(text: str, tools: Tools, **parameters: Any) -> Request:
    message = Message(role="user", parts=(Text(text=text),))
    return Request(model="m", messages=(message,), tools=tools, parameters=Parameters(**parameters))


def read(syntax: Syntax, text: str) -> list[AnswerPart]:
    reader = Reader(syntax)
    return [*reader.feed(text), *reader.close()]


@pytest.fixture(scope="module", params=[("hermes", "sequential"), ("mistral_args", "continuous")])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Syntax, Engine]:
    """A model of dice whose marks are special tokens."""
    syntax, name = request.param
    family = Family(f"calling-{syntax}", partial(calling, TEMPLATES[syntax], *MARKS[syntax]))
    folder: Path = family.folder(tmp_path_factory.getbasetemp())
    engine = create(
        Model(id="tiny/calls", source=str(folder), engine=name, rows=1 if name == "sequential" else 4)
    ).load()
    return syntax, engine


def generate(engine: Engine, request: Request, **fields: Any) -> tuple[Finish, list[Piece]]:
    pieces: list[Piece] = []
    prompt = engine.prepare(request, [])
    grammar = engine.grammar(request)
    row = Row(prompt, request.parameters, pieces.append, threading.Event(), grammar=grammar, **fields)
    return engine.generate(row), pieces


@pytest.mark.parametrize("seed", range(2))
def test_dice_call_what_they_have_to_and_as_its_schema_says(loaded: tuple[Syntax, Engine], seed: int) -> None:
    syntax, engine = loaded
    request = question(
        "How is Oslo?", required(named="weather"), temperature=4.0, seed=seed, max_new_tokens=600
    )
    finish, pieces = generate(engine, request)
    assert "".join(piece.text for piece in pieces) == finish.text
    if finish.reason == "stop":
        [called] = read(syntax, finish.text)
        assert isinstance(called, ParsedCall), finish.text
        assert called.name == "weather"
        Draft202012Validator(SCHEMA).validate(json.loads(called.arguments))


@pytest.mark.parametrize("choice", ["required", {"function": {"name": "now"}}])
def test_dice_invent_no_arguments(loaded: tuple[Syntax, Engine], choice: Any) -> None:
    syntax, engine = loaded
    body = {
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}],
        "tool_choice": choice,
        "parallel_tool_calls": False,
        "temperature": 4.0,
        "max_tokens": 200,
    }
    finish, _ = generate(engine, from_chat(body).request)
    assert read(syntax, finish.text) == [ParsedCall("now", "{}")]


def test_a_model_says_how_it_calls(loaded: tuple[Syntax, Engine]) -> None:
    assert loaded[1].facts.tools == loaded[0]


def test_marks_that_are_special_tokens_are_text_only_where_functions_are_shown(
    loaded: tuple[Syntax, Engine],
) -> None:
    syntax, engine = loaded
    request = question("Hi", required(named="clock"), seed=1, max_new_tokens=40)
    finish, _ = generate(engine, request)
    assert finish.text.startswith(MARKS[syntax][0])
    assert END not in finish.text
    plain = request.model_copy(update={"tools": None})
    replayed, _ = generate(engine, plain, published=finish.ids[:4])
    assert MARKS[syntax][0] not in replayed.text


def test_an_attempt_goes_on_in_the_middle_of_a_call(loaded: tuple[Syntax, Engine]) -> None:
    request = question("Hi", required(named="weather"), temperature=4.0, seed=2, max_new_tokens=600)
    whole, pieces = generate(loaded[1], request)
    cut = len(pieces) // 2
    published = tuple(id_ for piece in pieces[:cut] for id_ in piece.ids)
    text = "".join(piece.text for piece in pieces[:cut])
    again, rest = generate(loaded[1], request, published=published, published_text=text)
    assert again.ids == whole.ids
    assert text + "".join(piece.text for piece in rest) == whole.text


def demanded(parameters: dict[str, Any] | None, syntax: Syntax, arguments: list[str]) -> list[str]:
    """The calls with these arguments that may be the answer to a request with such a function."""
    function = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    body = {"messages": [{"role": "user", "content": "Hi"}], "tools": [function], "tool_choice": "required"}
    tools = from_chat(body).request.tools
    assert tools is not None
    grammar = LLMatcher.grammar_from_lark(CallGrammar(tools, syntax, None, SPACING).lark(quoted))
    return accepted_by(grammar, [HELD[syntax].replace("@", given) for given in arguments])


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
    arguments = ["{}", "null", "0.94", '"kC"', "[]"]
    assert demanded(parameters, syntax, arguments) == [HELD[syntax].replace("@", "{}")]


OPEN = {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("parameters", "open_"),
    [
        (None, False),
        ({}, False),
        ({"type": "object"}, False),
        ({"type": "object", "properties": {}}, False),
        ({"properties": {}, "required": []}, False),
        ({"type": "object", "nullable": True}, False),
        ({"type": "object", "additionalProperties": True}, True),
        (OPEN, True),
        ({"type": "object", "minProperties": 1}, True),
    ],
)
def test_a_call_gets_arguments_only_if_its_function_has_some(
    syntax: Syntax, parameters: dict[str, Any] | None, open_: bool
) -> None:
    assert bool(demanded(parameters, syntax, ['{"a":1}'])) == open_
    assert open_ or demanded(parameters, syntax, ["{}"])


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("number", ["1e999", "-4E400", "9" * 400, "-" + "9" * 5000])
def test_a_call_with_a_number_that_no_double_is_stays_a_call(syntax: Syntax, number: str) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    [text] = demanded(schema, syntax, [f'{{"x": {number}}}'])
    [called] = read(syntax, text)
    assert isinstance(called, ParsedCall)
    Draft202012Validator(schema).validate(json.loads(called.arguments, parse_constant=pytest.fail))
