"""Grammars for llguidance that hold an answer to function calls, in the form that the model writes them.

The arguments of a strict function match its schema, those of any other are any object. If a call is required,
the answer holds nothing else; if not, text may come before the calls, or an answer in the requested format in
their place.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from shared.request import Format, Function, Tools
from shared.tool_calls.syntax import Syntax
from worker.engines.grammar.lark import Mark, Spacing, is_token, json_schema, lark, quoted


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
}
KEYS: dict[Syntax, str] = {"hermes": "arguments", "llama": "parameters", "mistral": "arguments"}
# Mistral's models may give a call a name of its own.
ID = "/[A-Za-z0-9]{9}/"
OWN_ID = " ".join(["(", quoted(', "id": "'), ID, quoted('"'), ")?"])
ANY_OBJECT = '{"type":"object"}'
# Any text; and any text that does not begin an object, with or without spaces before it.
TEXT = r"TEXT: /(.|\n)*/"
NO_OBJECT = r"TEXT: /[ \n\t]*([^ \n\t{](.|\n)*)?/"


@dataclass(frozen=True)
class CallGrammar:
    """Which functions an answer may or must call, and how it writes them; `form` is any other answer's."""

    tools: Tools
    syntax: Syntax
    form: Format | None
    spacing: Spacing

    def lark(self, mark: Mark) -> str:
        shape = SHAPES[self.syntax]
        opening = mark(shape.opening) if shape.opening else ""
        closing = mark(shape.closing) if shape.closing else ""
        several = self.tools.parallel and self.tools.named is None and not shape.alone
        inside = f"({shape.between} body)*" if several and shape.inside else ""
        further = f"({shape.between} call)*" if several and not shape.inside else ""
        return "\n".join(
            [
                *self._start(opening, further),
                f"calls: call {further}",
                f"call: {opening} tail",
                f"tail: {shape.before} body {inside} {shape.after} {closing}",
                "body: " + " | ".join(f"body_{n}" for n in range(len(self.tools.callable))),
                *self._bodies(mark),
            ]
        )

    def _start(self, opening: str, further: str) -> Iterator[str]:
        """`further` is the rule for what may follow the first call."""
        if self.tools.required:
            yield "start: calls"
        elif self.form is not None:
            yield "start: calls | form"
            yield lark(self.form, self.spacing, "form")
        elif not opening:
            yield "start: TEXT | calls"
            yield NO_OBJECT
        else:
            yield f"start: TEXT | opened tail {further}"
            yield f"opened{'' if is_token(opening) else '[lazy]'}: TEXT {opening}"
            yield TEXT

    def _bodies(self, mark: Mark) -> Iterator[str]:
        for number, function in enumerate(self.tools.callable):
            name = f"args_{number}"
            yield f"body_{number}: {self._body(function, name, mark)}"
            yield f"{name}: {self._json(function.strict_schema or ANY_OBJECT)}"

    def _body(self, function: Function, name: str, mark: Mark) -> str:
        if self.syntax == "mistral_args":
            return f"{quoted(function.name)} ({mark('[CALL_ID]')} {ID})? {mark('[ARGS]')} {name}"
        # Character by character, like the JSON of a requested format, which may begin in the same way.
        head = ["{", '"name"', ":", " ", quoted(function.name), ",", " ", quoted(KEYS[self.syntax]), ":", " "]
        characters = " ".join(f"{quoted(part)}?" if part == " " else quoted(part) for part in head)
        own_id = OWN_ID if self.syntax == "mistral" else ""
        return f"{characters} {name} {own_id} {quoted('}')}"

    def _json(self, schema: str) -> str:
        return f"%json {json_schema(schema, self.spacing)}"
