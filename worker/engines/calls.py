"""Answers held to calls of functions, as grammars for llguidance, in the form that a model writes them.

A function that is held takes arguments of its schema, any other an object. Where one has to be called there
is nothing but calls; else words may stand before them, or in their place an answer of a wanted format.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared.calls.syntax import Syntax
from shared.request import Format, Function, Tools
from worker.engines.gemma_calls import arguments
from worker.engines.lark import Mark, Spacing, is_token, quoted, spaced, word
from worker.engines.translation import translated


@dataclass(frozen=True)
class Shape:
    """How a form puts calls together: `before` and `after` stand beside what is called, between two marks.

    `between` parts several; with `inside` all stand behind one mark. `alone` says that there is one at most.
    """

    opening: str = ""
    closing: str = ""
    before: str = ""
    after: str = ""
    between: str = ""
    inside: bool = False
    alone: bool = False


NEWLINE = quoted("\n")
SHAPES: dict[Syntax, Shape] = {
    "hermes": Shape("<tool_call>", "</tool_call>", before=NEWLINE, after=NEWLINE, between=NEWLINE),
    "llama": Shape(alone=True),
    "mistral": Shape("[TOOL_CALLS]", before='" "? "["', after='"]"', between='", "', inside=True),
    "mistral_args": Shape("[TOOL_CALLS]"),
    "gemma": Shape("<|tool_call>", "<tool_call|>", before='"call:"'),
}
KEYS: dict[Syntax, str] = {"hermes": "arguments", "llama": "parameters", "mistral": "arguments"}
# Mistral's models may give a call a name of its own.
ID = "/[A-Za-z0-9]{9}/"
OWN_ID = " ".join(["(", quoted(', "id": "'), ID, quoted('"'), ")?"])
# Any text; and one that begins no object, blanks before it or not.
TEXT = r"TEXT: /(.|\n)*/"
NO_OBJECT = r"TEXT: /[ \n\t]*([^ \n\t{](.|\n)*)?/"


@dataclass(frozen=True)
class Calling:
    """What an answer is held to."""

    tools: Tools
    syntax: Syntax
    form: Format | None
    spacing: Spacing

    def lark(self, mark: Mark) -> str:
        """Raises CallerError `unsupported_parameter` for a schema that the form has no words for."""
        shape = SHAPES[self.syntax]
        opening = mark(shape.opening) if shape.opening else ""
        closing = mark(shape.closing) if shape.closing else ""
        several = self.tools.parallel and self.tools.named is None and not shape.alone
        inside = f"({shape.between} body)*" if several and shape.inside else ""
        behind = f"({shape.between} call)*" if several and not shape.inside else ""
        return "\n".join(
            [
                *self._start(opening, behind),
                f"calls: call {behind}",
                f"call: {opening} tail",
                f"tail: {shape.before} body {inside} {shape.after} {closing}",
                "body: " + " | ".join(f"body_{n}" for n in range(len(self.tools.callable))),
                *self._bodies(mark),
            ]
        )

    def _start(self, opening: str, behind: str) -> Iterator[str]:
        """`behind` is what may come behind the first call."""
        if self.tools.required:
            yield "start: calls"
        elif self.form is not None:
            yield "start: calls | form"
            if self.form.kind == "json":
                yield f"form: {self._json(json.loads(self.form.content))}"
            else:
                yield from ("form: WORD", f"WORD: {word(self.form)}")
        elif not opening:
            yield "start: TEXT | calls"
            yield NO_OBJECT
        else:
            yield f"start: TEXT | opened tail {behind}"
            yield f"opened{'' if is_token(opening) else '[lazy]'}: TEXT {opening}"
            yield TEXT

    def _bodies(self, mark: Mark) -> Iterator[str]:
        for number, function in enumerate(self.tools.callable):
            name = f"args_{number}"
            yield f"body_{number}: {self._body(function, name, mark)}"
            if self.syntax == "gemma":
                yield from arguments(name, translated(_schema(function)), mark)
            else:
                yield f"{name}: {self._json(_schema(function))}"

    def _body(self, function: Function, name: str, mark: Mark) -> str:
        if self.syntax == "gemma":
            return f"{quoted(function.name)} {name}"
        if self.syntax == "mistral_args":
            return f"{quoted(function.name)} ({mark('[CALL_ID]')} {ID})? {mark('[ARGS]')} {name}"
        # Sign by sign, as JSON that may be wanted in its place is read.
        head = ["{", '"name"', ":", " ", quoted(function.name), ",", " ", quoted(KEYS[self.syntax]), ":", " "]
        signs = " ".join(f"{quoted(sign)}?" if sign == " " else quoted(sign) for sign in head)
        own = OWN_ID if self.syntax == "mistral" else ""
        return f"{signs} {name} {own} {quoted('}')}"

    def _json(self, schema: dict[str, Any]) -> str:
        return f"%json {spaced(schema, self.spacing)}"


def _schema(function: Function) -> dict[str, Any]:
    held: dict[str, Any] = {"type": "object"} if function.held is None else json.loads(function.held)
    return held
