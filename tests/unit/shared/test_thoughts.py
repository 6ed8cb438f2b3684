"""Thoughts are told apart from the answer, however it was cut into pieces."""

from itertools import groupby

import pytest

from shared.tool_calls.call import ParsedCall
from shared.tool_calls.parser import AnswerPart, Reader
from shared.tool_calls.thoughts import AnswerSyntax, Marks, Thought, marks_of, read_answer_syntax

THINK = Marks("<think>", "</think>")
LLAMA, MADE = '{"name": "f", "parameters": {}}', ParsedCall("f", "{}")
CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'


def read(text: str, syntax: str, size: int) -> list[AnswerPart]:
    reader = Reader(syntax)
    parts = [part for at in range(0, len(text), size) for part in reader.feed(text[at : at + size])]
    merged: list[AnswerPart] = []
    for kind, same in groupby([*parts, *reader.close()], type):
        if kind is ParsedCall:
            merged += same
        elif kind is Thought:
            merged.append(Thought("".join(part.text for part in same if isinstance(part, Thought))))
        else:
            merged.append("".join(part for part in same if isinstance(part, str)))
    return merged


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("text", "syntax", "parts"),
    [
        ("<think>a</think>b", AnswerSyntax(None, THINK), [Thought("a"), "b"]),
        (" \n<think>\n a <b\n\n c\n</think>\n\nb ", AnswerSyntax(None, THINK), [Thought("a <b\n\n c"), "b "]),
        ("<think>\n\n</think>\n\nb", AnswerSyntax(None, THINK), ["b"]),
        ("\na</think>\nb", AnswerSyntax(None, Marks("", "</think>")), [Thought("a"), "b"]),
        ("<think>cut </thi", AnswerSyntax(None, THINK), [Thought("cut </thi")]),
        (" <thin air", AnswerSyntax(None, THINK), [" <thin air"]),
        ("the tag <think>a</think>", AnswerSyntax(None, THINK), ["the tag <think>a</think>"]),
        ("<think>a</think>b", AnswerSyntax(None, THINK, told=False), ["b"]),
        (
            f"<think>I {CALL}</think>\nNow {CALL}",
            AnswerSyntax("hermes", THINK),
            [Thought(f"I {CALL}"), "Now", MADE],
        ),
        (f"<think>a</think>\n{LLAMA}", AnswerSyntax("llama", THINK), [Thought("a"), MADE]),
    ],
)
def test_a_reader_gets_thoughts_words_and_calls_apart(
    text: str, syntax: AnswerSyntax, parts: list[AnswerPart], size: int
) -> None:
    assert read_answer_syntax(str(syntax)) == syntax
    assert read(text, str(syntax), size) == parts


@pytest.mark.parametrize(
    ("template", "marks"),
    [
        ("{{ content.split('</think>')[-1] }}<think>\n", THINK),
        ("[THINK]{{ m.thinking }}[/THINK]", Marks("[THINK]", "[/THINK]")),
        ("<seed:think>{{ x }}</seed:think>", Marks("<seed:think>", "</seed:think>")),
        ("<|channel>thought\n{{ x }}<channel|>", Marks("<|channel>thought", "<channel|>")),
        ("<think>{{ x }}", None),
        ("{{ enable_thinking }}", None),
    ],
)
def test_a_models_thoughts_are_known_by_its_template(template: str, marks: Marks | None) -> None:
    assert marks_of(template) == marks
    assert marks_of(template, ["(", ")"]) == Marks("(", ")")
    assert marks_of(template, []) is None


def test_a_form_of_calls_that_only_a_newer_release_knows_is_words() -> None:
    assert read_answer_syntax("future <a> </a>") == AnswerSyntax(None, Marks("<a>", "</a>"))
    assert read_answer_syntax("future") == read_answer_syntax(None) == AnswerSyntax()
