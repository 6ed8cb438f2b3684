"""Finds where an object or a list ends in a growing text, looking at each letter once."""

import re

from shared.tool_calls.call import NoCallError

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
