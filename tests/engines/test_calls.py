"""Answers limited to calls of functions: by the grammar of each form, and by engines with a random model."""

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from transformers import PreTrainedTokenizerFast

from shared.errors import CallerError
from shared.models import Model
from shared.request import Format, Function, Message, Parameters, Request, Text, Tools
from shared.result import Piece
from shared.tool_calls.call import ParsedCall
from shared.tool_calls.parser import AnswerPart, Reader
from shared.tool_calls.syntax import MARKS, SYNTAXES, Syntax
from tests.support.families.family import Family
from tests.support.families.llava import calling
from tests.support.families.tokens import END, byte_tokenizer, token_id
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
    "gemma": "<|tool_call>call:clock{at:1}<tool_call|>",
}
TWO: dict[Syntax, str] = {
    "hermes": f"{ONE['hermes']}\n{ONE['hermes']}",
    "mistral": '[TOOL_CALLS] [{"name": "clock", "arguments": {}, "id": "abcdefghi"}, '
    '{"name": "clock", "arguments": {}}]',
    "mistral_args": ONE["mistral_args"] + "[TOOL_CALLS]clock[CALL_ID]abcdefghi[ARGS]{}",
    "gemma": ONE["gemma"] * 2,
}
HELD: dict[Syntax, str] = {
    "hermes": '<tool_call>\n{"name": "weather", "arguments": @}\n</tool_call>',
    "llama": '{"name": "weather", "parameters": @}',
    "mistral": '[TOOL_CALLS] [{"name": "weather", "arguments": @}]',
    "mistral_args": "[TOOL_CALLS]weather[ARGS]@",
    "gemma": "<|tool_call>call:weather@<tool_call|>",
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
GEMMA = (
    '{city:<|"|>Oslo<|"|>,days:3,unit:<|"|>c<|"|>,tags:[<|"|>a<|"|>,<|"|>b<|"|>],near:{km:1.5,by:{km:2}}}',
    '{city:<|"|>Oslo<|"|>,unit:null}',
)
NO_GEMMA = (
    '{city:<|"|>Trondheim<|"|>,unit:<|"|>c<|"|>}',
    '{city:<|"|>Oslo<|"|>,days:7,unit:<|"|>c<|"|>}',
    '{city:<|"|>Oslo<|"|>,unit:<|"|>k<|"|>}',
    '{city:<|"|>Oslo<|"|>}',
)


@pytest.fixture(params=[True, False], ids=["tokens", "letters"])
def marked(request: pytest.FixtureRequest) -> bool:
    """Whether the marks of calls are tokens of their own."""
    return bool(request.param)


def takes(tokenizer: PreTrainedTokenizerFast, wanted: CallGrammar, text: str) -> bool:
    matcher = Grammars(tokenizer, [token_id(tokenizer, END)]).calls(wanted)
    ids = tokenizer.encode(text, add_special_tokens=False)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def check(syntax: Syntax, marked: bool, text: str, tools: Tools, form: Format | None = None) -> bool:
    tokenizer = byte_tokenizer(*(MARKS[syntax] if marked else ()))
    return takes(tokenizer, CallGrammar(tools, syntax, form, SPACING), text)


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
    for form, right in (
        (
            Format(kind="json", content='{"type":"object","properties":{"a":{"type":"boolean"}}}'),
            '{"a": true}',
        ),
        (Format(kind="choice", content='["cat","dog"]'), "dog"),
    ):
        assert check(syntax, marked, right, BOTH, form)
        assert check(syntax, marked, ONE[syntax], BOTH, form)
        assert not check(syntax, marked, "No.", BOTH, form)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_arguments_are_of_the_schema_in_every_form(syntax: Syntax, marked: bool) -> None:
    right, wrong = (GEMMA, NO_GEMMA) if syntax == "gemma" else (JSON, NO_JSON)
    for arguments in right:
        text = HELD[syntax].replace("@", arguments)
        assert check(syntax, marked, text, BOTH), text
        reader = Reader(syntax)
        [called] = [*reader.feed(text), *reader.close()]
        assert isinstance(called, ParsedCall)
        Draft202012Validator(SCHEMA).validate(json.loads(called.arguments))
    for arguments in wrong:
        assert not check(syntax, marked, HELD[syntax].replace("@", arguments), BOTH), arguments


def test_references_may_follow_each_other_for_long_in_gemmas_form() -> None:
    chain: dict[str, Any] = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(1000)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a0"}}, "$defs": chain}
    chain["a1000"] = {"type": "null"}
    tools = Tools(
        functions=(WEATHER.model_copy(update={"strict_schema": json.dumps(schema)}),), required=True
    )
    assert len(CallGrammar(tools, "gemma", None, SPACING).lark(quoted).splitlines()) > len(chain)


def test_a_schema_that_no_arguments_are_of_is_refused_by_its_place() -> None:
    tools = Tools(functions=(WEATHER.model_copy(update={"strict_schema": '{"$ref":"#/no"}'}),), required=True)
    with pytest.raises(CallerError, match="held to these schemas") as refused:
        check("hermes", False, "", tools)
    assert (refused.value.code, refused.value.param) == ("invalid_request", "tools")


def test_the_echo_engine_calls_what_its_question_says_and_has_no_grammar() -> None:
    engine = EchoEngine(Model(id="e", engine="echo"))
    request = question(ONE["hermes"], BOTH.model_copy(update={"functions": (CLOCK,)}))
    prompt = engine.prepare(request, [])
    finish = engine.generate(Row(prompt, request.parameters, lambda _: None, threading.Event()))
    assert (engine.facts.tools, prompt.syntax, read("hermes", finish.text)) == (
        "hermes",
        "hermes",
        [ParsedCall("clock", '{"at": 1}')],
    )
    with pytest.raises(CallerError) as refused:
        engine.grammar(question("Hi", required()))
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "tools")


def question(text: str, tools: Tools, **parameters: Any) -> Request:
    message = Message(role="user", parts=(Text(text=text),))
    return Request(model="m", messages=(message,), tools=tools, parameters=Parameters(**parameters))


def read(syntax: Syntax, text: str) -> list[AnswerPart]:
    reader = Reader(syntax)
    return [*reader.feed(text), *reader.close()]


@pytest.fixture(scope="module", params=[("hermes", "sequential"), ("gemma", "continuous")])
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


@pytest.mark.parametrize("seed", range(4))
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
