"""The forms whose arguments are JSON: Hermes', Llama's and Mistral's."""

import re

from shared.tool_calls.call import NoCallError, ParsedCall, after_blanks, called, closed, new_call, parsed
from shared.tool_calls.syntax import CallParser, Whole

LONGEST_HEAD = 200
"""Characters that a name and an id take up, with the marks between them."""


class Hermes(CallParser):
    """Each call stands between two tags, as an object."""

    opening = "<tool_call>"
    closing = "</tool_call>"

    def __init__(self) -> None:
        self._brackets: Brackets | None = None
        self._begin = 0

    def read(self, text: str, *, last: bool) -> Whole | None:
        if self._brackets is None:
            self._begin = after_blanks(text, len(self.opening))
            if self._begin == len(text):
                return None
            if text[self._begin] != "{":
                raise NoCallError
            self._brackets = Brackets(self._begin)
        end = self._brackets.end(text)
        if end is None:
            return None
        behind = closed(text, end, self.closing, last=last)
        if behind is None:
            return None
        return [called(parsed(text[self._begin : end]), "name", "arguments")], behind


class Llama(CallParser):
    """The answer is an object, or several with semicolons between them; no words stand before it."""

    opening = "{"
    leads = True
    skipped = "<|python_tag|>"
    between = ";"

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


class Mistral(CallParser):
    """A list of objects behind one mark; later models write the mark, a name and an object for each call."""

    opening = "[TOOL_CALLS]"

    def __init__(self) -> None:
        self._begin = len(self.opening)
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


_SIGNS = re.compile(r'["{}\[\]]')
_IN_TEXT = re.compile(r'["\\]')


class Brackets:
    """Find where an object or a list ends in a growing text, looking at each letter once."""

    def __init__(self, begin: int) -> None:
        self._at = begin
        self._quoted = False
        self._depth = 0
        self._end: int | None = None

    def end(self, text: str) -> int | None:
        """Return the place after the last bracket; None where more has to come."""
        while self._end is None and (sign := (_IN_TEXT if self._quoted else _SIGNS).search(text, self._at)):
            self._at = sign.end()
            if sign[0] == '"':
                self._quoted = not self._quoted
            elif sign[0] == "\\":
                if self._at == len(text):
                    # The escaped sign comes only with the next piece.
                    self._at = sign.start()
                    return None
                self._at += 1
            else:
                self._depth += 1 if sign[0] in "{[" else -1
                self._end = self._at if self._depth == 0 else None
        if self._end is None:
            self._at = len(text)
        return self._end
