"""Grammars for llguidance that hold an answer to function calls, in the form that the model writes them.

A held function takes arguments that match its schema, any other function takes any object. If a call is
required, the answer holds nothing else; otherwise text may come before the calls, or an answer in the
requested format in their place.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared.request import Format, Function, Tools
from shared.tool_calls.syntax import Syntax
from worker.engines.grammar.gemma_calls import arguments
from worker.engines.grammar.lark import Mark, Spacing, is_token, quoted, spaced, word
from worker.engines.grammar.translation import translated


@dataclass(frozen=True)
class Shape:
    """How a form writes calls: each between the marks `opening` and `closing`, inside `before` and `after`.

    `between` separates calls; with `inside` all of them follow one mark. `alone`: there is one call at most.
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
# Any text; and any text that does not begin an object, with or without blanks before it.
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
        """The grammar. Raises CallerError `unsupported_parameter` for a schema the form cannot express."""
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
        """`behind` is the rule for what may follow the first call."""
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
        # Character by character, like the JSON of a requested format, which may begin in the same way.
        head = ["{", '"name"', ":", " ", quoted(function.name), ",", " ", quoted(KEYS[self.syntax]), ":", " "]
        signs = " ".join(f"{quoted(sign)}?" if sign == " " else quoted(sign) for sign in head)
        own = OWN_ID if self.syntax == "mistral" else ""
        return f"{signs} {name} {own} {quoted('}')}"

    def _json(self, schema: dict[str, Any]) -> str:
        return f"%json {spaced(schema, self.spacing)}"


def _schema(function: Function) -> dict[str, Any]:
    held: dict[str, Any] = {"type": "object"} if function.held is None else json.loads(function.held)
    return held
