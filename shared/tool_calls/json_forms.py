"""The forms whose arguments are JSON: Hermes', Llama's and Mistral's."""

import re

from shared.tool_calls.call import NoCallError, ParsedCall, after_blanks, called, closed, new_call, parsed
from shared.tool_calls.syntax import CallParser, Form, Whole

LONGEST_HEAD = 200
"""Characters that a name and an id take up, with the marks between them."""


class Hermes(Form):
    """Each call stands between two tags, as an object."""

    opening = "<tool_call>"
    closing = "</tool_call>"

    def parser(self) -> CallParser:
        return _Object(self)


class _Object(CallParser):
    def __init__(self, form: Hermes) -> None:
        self._form = form
        self._brackets: Brackets | None = None
        self._begin = 0

    def read(self, text: str, *, last: bool) -> Whole | None:
        if self._brackets is None:
            self._begin = after_blanks(text, len(self._form.opening))
            if self._begin == len(text):
                return None
            if text[self._begin] != "{":
                raise NoCallError
            self._brackets = Brackets(self._begin)
        end = self._brackets.end(text)
        if end is None:
            return None
        behind = closed(text, end, self._form.closing, last=last)
        if behind is None:
            return None
        return [called(parsed(text[self._begin : end]), "name", "arguments")], behind


class Llama(Form):
    """The answer is an object, or several with semicolons between them; no words stand before it."""

    opening = "{"
    leads = True
    skipped = "<|python_tag|>"
    between = ";"

    def parser(self) -> CallParser:
        return _Bare()


class _Bare(CallParser):
    def __init__(self) -> None:
        self._brackets = Brackets(0)

    def read(self, text: str, *, last: bool) -> Whole | None:  # noqa: ARG002
        end = self._brackets.end(text)
        if end is None:
            return None
        value = parsed(text[:end])
        if not value.keys() & {"parameters", "arguments"}:
            raise NoCallError
        return [called(value, "name", "parameters" if "parameters" in value else "arguments")], end


class Mistral(Form):
    """A list of objects behind one mark; later models write the mark, a name and an object for each call."""

    opening = "[TOOL_CALLS]"

    def parser(self) -> CallParser:
        return _Listed(self)


class _Listed(CallParser):
    def __init__(self, form: Mistral) -> None:
        self._begin = len(form.opening)
        self._name: str | None = None
        self._brackets: Brackets | None = None

    def read(self, text: str, *, last: bool) -> Whole | None:  # noqa: ARG002
        if self._brackets is None and not self._ready(text):
            return None
        end = None if self._brackets is None else self._brackets.end(text)
        if end is None:
            return None
        value = parsed(text[self._begin : end])
        return ([new_call(self._name, value)] if self._name is not None else _all(value)), end

    def _ready(self, text: str) -> bool:
        """Whether the brackets have begun, behind a name or without one."""
        self._begin = after_blanks(text, self._begin)
        head = text[self._begin : self._begin + LONGEST_HEAD]
        if head.startswith(("[{", "[ ", "{")):
            self._brackets = Brackets(self._begin)
            return True
        name, mark, _ = head.partition("[ARGS]")
        if not mark:
            if len(head) == LONGEST_HEAD:
                raise NoCallError
            return False
        behind = after_blanks(text, self._begin + len(name) + len(mark))
        if behind == len(text):
            return False
        self._name = name.partition("[CALL_ID]")[0].strip()
        self._begin, self._brackets = behind, Brackets(behind)
        return True


def _all(value: object) -> list[ParsedCall]:
    return [called(item, "name", "arguments") for item in (value if isinstance(value, list) else [value])]


_SIGNS = re.compile(r'["{}\[\]<]')
_IN_TEXT = re.compile(r'["\\]')


class Brackets:
    """The brackets of a value that begins at a place; those inside texts do not count.

    `quote` stands around texts; only JSON's knows a backslash. Outside of texts only marks begin with `<`.
    """

    def __init__(self, begin: int, quote: str = '"') -> None:
        self._at = begin
        self._quote = quote
        self._quoted = False
        self._depth = 0
        self._end: int | None = None

    def end(self, text: str) -> int | None:
        """None where more has to come. Raises NoCallError where the brackets do not match."""
        before = -1
        while self._end is None and before < self._at < len(text):
            before = self._at
            if self._quoted:
                self._go_inside(text)
            else:
                self._go_outside(text)
        return self._end

    def _go_inside(self, text: str) -> None:
        """Go on to the end of the quoted text."""
        if self._quote != '"':
            at = text.find(self._quote, self._at)
            self._quoted = at < 0
            self._at = at + len(self._quote) if at >= 0 else max(self._at, len(text) - len(self._quote) + 1)
            return
        sign = _IN_TEXT.search(text, self._at)
        if sign is None:
            self._at = len(text)
        elif sign[0] == '"':
            self._quoted, self._at = False, sign.end()
        else:
            # Skips the escaped sign, which may come only with the next piece.
            self._at = sign.end() + 1 if sign.end() < len(text) else sign.start()

    def _go_outside(self, text: str) -> None:
        """Go on behind the next sign that counts."""
        sign = _SIGNS.search(text, self._at)
        self._at = len(text) if sign is None else sign.end()
        if sign is None:
            return
        if text.startswith(self._quote, sign.start()):
            self._quoted, self._at = True, sign.start() + len(self._quote)
        elif sign[0] == "<":
            if not self._quote.startswith(text[sign.start() :]):
                raise NoCallError
            # This may begin a quote, the rest of which is still to come.
            self._at = sign.start()
        elif sign[0] != '"':
            self._depth += 1 if sign[0] in "{[" else -1
            self._end = self._at if self._depth == 0 else None
