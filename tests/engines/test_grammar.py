"""A hostile format costs its caller the job, and the worker nothing."""

import json
import re
import subprocess
import threading
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from llguidance import LLMatcher
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from shared.errors import CallerError
from shared.request import Format, Parameters
from shared.tool_calls.thoughts import Marks
from tests.engines.continuous.conftest import TINY
from tests.engines.suite import refused
from tests.support.families.tokens import byte_tokenizer
from worker.engines.base import Prompt, Row
from worker.engines.grammar import sandbox
from worker.engines.grammar.compiler import Grammars
from worker.engines.grammar.lark import json_schema
from worker.engines.sampling.grammar_processor import GrammarProcessor

Schema = dict[str, Any]
TEXTS = ['The cat sat on the mat. </s> {"a": 1, "b": [true, null]} red green blue \u00e9 _x'] * 20


def nested(levels: int) -> Schema:
    schema: Schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def chained(links: int) -> Schema:
    """Each link is all of the next."""
    links_of = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}]} for n in range(links)}
    return {"$ref": "#/$defs/d0", "$defs": {**links_of, f"d{links}": {"type": "string"}}}


def products(factors: int, terms: int) -> Schema:
    """All of some choices: every combination has to be looked at."""
    whole = {"type": "integer"}
    return {
        "allOf": [
            {"anyOf": [{"type": "object", "properties": {f"a{f}_{t}": whole}} for t in range(terms)]}
            for f in range(factors)
        ]
    }


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(AutoTokenizer.from_pretrained(TINY), [1, None])


HOSTILE: dict[str, Format | Schema] = {
    "asks for no text": {"const": "a", "format": "date"},
    "has no number between its bounds": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "never stops compiling": {
        "allOf": [{"type": "integer", "multipleOf": n} for n in (997, 991, 983, 977, 971)]
    },
    "overflows the stack": chained(1200),
    "has too many combinations": products(5, 5),
    "is nested too deeply": nested(120),
    "refers to itself alone": {"$ref": "#"},
    "leads nowhere": {"$ref": "#/$defs/none"},
    "holds a ring": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "contradicts itself": {"allOf": [{"type": "string"}, {"type": "integer"}]},
    "has a pattern that is none": {"type": "string", "pattern": "("},
    "names numbers that are too large": {"type": "integer", "minimum": -(10**400)},
    "counts too far": {"type": "string", "minLength": 10**18},
    "is no expression": Format(kind="regex", content="a{2"),
    "refers back": Format(kind="regex", content=r"(a)\1"),
    "opens too many brackets": Format(kind="regex", content="(" * 2000 + "a" + ")" * 2000),
    "repeats a word boundary": Format(kind="regex", content=r"(\bfoo\b)+"),
    "is no grammar": Format(kind="grammar", content="hello"),
    "is a grammar of nothing": Format(kind="grammar", content="root ::= root"),
    "nests too deeply in GBNF": Format(kind="grammar", content=f"root ::= {'(' * 4000}"),
    "names a token of the model": Format(kind="grammar", content="start: <|end|>"),
}
GRAMMARS = {
    "GBNF": 'root ::= answer ("," root)?\nanswer ::= "yes" | "{no}"',
    "Lark": '?start: answer ("," start)?\n?answer: "yes" | "{no}"',
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_format_that_cannot_be_used_is_its_callers_error(
    grammars: Grammars, hostile: Format | Schema
) -> None:
    wanted = hostile if isinstance(hostile, Format) else Format(kind="json", content=json.dumps(hostile))
    for _ in range(2):
        with refused("invalid_request", "format", match=r"The format cannot be used: .") as error:
            grammars.compile(wanted)
        message = error.value.message
        assert len(message) < 260
        assert not {"panic", "fuel", "lexer", "\n"} & {*message.split(), *message}
    assert not grammars.compile(Format(kind="regex", content="ok")).is_error()


def test_an_expression_that_explodes_in_the_middle_ends_in_an_error_and_not_in_a_wait(
    grammars: Grammars,
) -> None:
    matcher = grammars.compile(Format(kind="regex", content="x((a{1000}){1000}){1000}"))
    for byte in b"xaaaa":
        matcher.consume_token(bytes_of_tiny(byte))
        matcher.compute_bitmask()
    assert sandbox.matcher_error(matcher) == "it is too complex"


@pytest.mark.parametrize("is_token", [False, True])
def test_a_format_binds_behind_the_thoughts(is_token: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    if is_token:
        tokenizer.add_tokens(["<think>", "</think>"])
    grammars = Grammars(tokenizer, [tokenizer.eos_token_id])
    wanted = Format(kind="json", content='{"type":"integer"}')
    for opening, text, held in (
        ("<think>", '<think>"a</think>\n\n12', True),
        ("<think>", "12", True),
        ("<think>", "<think>a</think>no", False),
        ("<think>", "<think>a", False),
        ("", "a</think>12", True),
        ("", "12", False),
    ):
        matcher = grammars.compile(wanted, "", Marks(opening, "</think>"))
        ids = tokenizer.encode(text, add_special_tokens=False)
        taken = all(matcher.consume_token(id_) for id_ in ids)
        assert (taken and matcher.is_accepting()) == held, text


@pytest.mark.parametrize("content", GRAMMARS.values(), ids=GRAMMARS.keys())
def test_an_answer_keeps_to_its_caller_s_own_grammar_behind_thoughts_too(
    grammars: Grammars, content: str
) -> None:
    tokenizer, wanted = AutoTokenizer.from_pretrained(TINY), Format(kind="grammar", content=content)
    for marks, text, held in (
        (None, "yes,{no}", True),
        (None, "no", False),
        (Marks("<think>", "</think>"), "<think>well</think>{no},yes", True),
        (Marks("<think>", "</think>"), "<think>well</think>yes,", False),
    ):
        matcher = grammars.compile(wanted, "", marks)
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert (all(map(matcher.consume_token, ids)) and matcher.is_accepting()) == held, text


def test_a_format_that_needs_what_the_model_may_not_write_is_refused(grammars: Grammars) -> None:
    row = Row(Prompt(1, 0, None), Parameters(), lambda _: None, threading.Event())
    hold = GrammarProcessor(grammars.compile(Format(kind="choice", content='["\u00e9"]')), row, [1])
    forbidden = torch.zeros(1, 1024)
    forbidden[0, 9:] = -torch.inf
    with refused("invalid_request", "format", match="no token"):
        hold(torch.tensor([[5]]), forbidden)  # type: ignore[arg-type]


def test_a_step_that_is_computed_again_feeds_its_token_once(grammars: Grammars) -> None:
    row = Row(Prompt(1, 0, None), Parameters(), lambda _: None, threading.Event())
    hold = GrammarProcessor(grammars.compile(Format(kind="choice", content='["ab","xy"]')), row, [1])
    scores = torch.zeros(1, 1024)
    ids = [5]
    for _ in range(2):
        hold(torch.tensor([ids]), scores)  # type: ignore[arg-type]
        left = hold(torch.tensor([ids]), scores).isfinite()[0]  # type: ignore[arg-type]
        ids.append(bytes_of_tiny(b"ab"[len(ids) - 1]))
        assert bool(left[ids[-1]])
    assert not bool(left[bytes_of_tiny(ord("a"))])


def bytes_of_tiny(byte: int) -> int:
    """Single letters follow the nine special tokens, from `!` on."""
    return byte - ord("!") + 9


def test_options_of_the_library_in_a_schema_mean_nothing(grammars: Grammars) -> None:
    loose = {"type": "string", "not": {}, "x-guidance": {"lenient": True}}
    with pytest.raises(CallerError, match="not"):
        grammars.compile(Format(kind="json", content=json.dumps(loose)))


@pytest.mark.parametrize("keyword", ["const", "enum"])
def test_an_answer_with_the_word_pattern_in_it_is_no_pattern(keyword: str) -> None:
    answer = {"pattern": r"\b(?=a)"}
    value: Any = answer if keyword == "const" else [answer]
    schema = {"properties": {"enum": {"pattern": r"\ba"}, "a": {keyword: value}}}
    written = json.loads(json_schema(json.dumps(schema), {}))["properties"]
    assert written == {"enum": {"pattern": "(?:)a"}, "a": {keyword: value}}


def test_a_sandbox_that_fails_or_is_killed_says_nothing_about_the_format(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Format(kind="regex", content="never compiled before")
    real = subprocess.run
    for code, words in (("exit 1", "exit code 1"), ("kill -KILL $$", "exit code -9")):
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "run", lambda _, c=code, **how: real(["/bin/sh", "-c", c], **how))
            with pytest.raises(sandbox.SandboxError, match=words):
                grammars.compile(wanted)
    assert not grammars.compile(wanted).is_error()


def llama_like() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    file = json.loads(tokenizer.to_str())
    vocabulary = file["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    # As converters of SentencePiece's files do, also for the end.
    file["model"]["merges"].append(["</s", ">"])
    return Tokenizer.from_str(json.dumps(file))


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=80, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "choices"),
    [
        (llama_like(), ["the cat", "th\u00e9 \U0001f408", "a</s>b", "<unk>"]),
        (llama_like(), ["</s>"]),
        (llama_like(), ["<unk>"]),
        (unigram(), ["the cat", "the mat"]),
        (unigram(), ["</s>"]),
    ],
    ids=["byte fallback", "its end", "its unknown", "unigram", "the end of that"],
)
def test_a_tokenizer_of_another_kind_writes_a_whole_answer(tokenizer: Tokenizer, choices: list[str]) -> None:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")  # type: ignore[no-untyped-call]
    wanted = {"type": "object", "properties": {"a b": {"enum": choices}}, "required": ["a b"]}
    matcher = Grammars(fast, [1]).compile(
        Format(kind="json", content=json.dumps({**wanted, "additionalProperties": False}))
    )
    assert json.loads(walked(fast, matcher))["a b"] in choices


def walked(tokenizer: Any, matcher: LLMatcher) -> str:
    """The answer that takes the highest token each time."""
    ids: list[int] = []
    while not matcher.is_stopped():
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        ids.append(mask.bit_length() - 1)
        assert matcher.consume_token(ids[-1]), matcher.get_error()
    return str(tokenizer.decode(ids, skip_special_tokens=True))


@pytest.mark.parametrize("make", [byte_tokenizer, lambda: AutoTokenizer.from_pretrained(TINY)])
@pytest.mark.parametrize("kind", ["choice", "regex", "json"])
def test_a_format_that_contains_a_special_token_is_answered_in_letters(
    make: Callable[[], Any], kind: Literal["choice", "regex", "json"]
) -> None:
    tokenizer = make()
    for name in tokenizer.all_special_tokens:
        wanted = f"a{name}b"
        contents = {"choice": [wanted], "json": {"const": wanted}}
        content = re.escape(wanted) if kind == "regex" else json.dumps(contents[kind])
        matcher = Grammars(tokenizer, [tokenizer.eos_token_id]).compile(Format(kind=kind, content=content))
        assert walked(tokenizer, matcher).strip('"') == wanted


def test_no_text_of_a_caller_is_the_secret_name_of_a_special_token(grammars: Grammars) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    for wanted in ("\ufdd01\ufdd1", "\ufdd0 1\ufdd1", "\ufdd0"):
        matcher = grammars.compile(Format(kind="choice", content=json.dumps([wanted])))
        assert walked(tokenizer, matcher) == wanted


@pytest.mark.parametrize("ends", [[1], [None]], ids=["of words", "without an end"])
def test_a_tokenizer_that_cannot_be_read_serves_its_model_and_takes_no_formats(
    ends: list[int | None],
) -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<end>": 1, "word": 2}, unk_token="<unk>"))
    fast = PreTrainedTokenizerFast(tokenizer_object=words)  # type: ignore[no-untyped-call]
    with refused("unsupported_parameter", "format"):
        Grammars(fast, ends).compile(Format(kind="regex", content="a"))
