"""Takes thoughts, calls and words apart while a model still writes them.

A call is told when it is whole; text that may still become one is held back until then. A call that was begun
and never completed is words. Blanks beside a call count as words only between words, which they keep apart.
"""

from shared.tool_calls.call import NoCallError, ParsedCall, after_blanks
from shared.tool_calls.json_forms import Hermes, Llama, Mistral
from shared.tool_calls.syntax import CallParser, Syntax, overlap
from shared.tool_calls.thoughts import Thought, ThoughtReader, read_answer_syntax

FORMS: dict[Syntax, type[CallParser]] = {
    "hermes": Hermes,
    "llama": Llama,
    "mistral": Mistral,
    "mistral_args": Mistral,
}
AnswerPart = str | ParsedCall | Thought
"""Words, a call, or a part of a thought."""
MOST_GIVEN_UP = 32
"""After this many false beginnings all else is words: each may cost a look at the rest of the answer."""


class Reader:
    """Reads one answer. However it is cut into pieces, the result is the same."""

    def __init__(self, syntax: str | None) -> None:
        """`syntax` is that of the answer; None where it is all words."""
        calls, thoughts, self._told = read_answer_syntax(syntax)
        self._thoughts = ThoughtReader(thoughts) if thoughts else None
        self._calls = CallReader(calls) if calls else None

    def feed(self, text: str) -> list[AnswerPart]:
        """What the next piece of the answer makes certain."""
        return self._read(text, last=False)

    def close(self) -> list[AnswerPart]:
        """What is certain now that no more will come."""
        return [*self._read("", last=True), *(self._calls.close() if self._calls else ())]

    def _read(self, text: str, *, last: bool) -> list[AnswerPart]:
        thought, behind = self._thoughts.feed(text, last=last) if self._thoughts else ("", text)
        parts: list[AnswerPart] = [Thought(thought)] if thought and self._told else []
        return parts + (self._calls.feed(behind) if self._calls else [behind] if behind else [])


class CallReader:
    """Reads what stands behind the thoughts."""

    def __init__(self, syntax: Syntax) -> None:
        self.calls = 0
        self._form = FORMS[syntax]
        self._left = ""
        self._blanks = ""
        self._parser: CallParser | None = None
        self._given_up = 0
        # Whether words were told, and whether none were since the last call.
        self._begun = False
        self._after_call = False

    def feed(self, text: str) -> list[AnswerPart]:
        """What the next piece of the answer makes certain."""
        self._left += text
        return self._advance(last=False)

    def close(self) -> list[AnswerPart]:
        """What is certain now that no more will come."""
        parts = self._advance(last=True)
        if self._blanks and not self._after_call:
            parts.append(self._blanks)
        return parts

    def _advance(self, *, last: bool) -> list[AnswerPart]:
        parts: list[AnswerPart] = []
        while self._left:
            if self._parser is None and self._open(parts, last=last):
                self._parser = self._form()
            if self._parser is None or not self._take(self._parser, parts, last=last):
                break
        return parts

    def _open(self, parts: list[AnswerPart], *, last: bool) -> bool:
        """Tell the words before the next call; whether one may begin there."""
        words, call = self._led(last=last) if self._form.leads else self._marked(last=last)
        self._emit_text(parts, self._left[:words])
        self._left = self._left[max(words, call) :]
        return call >= 0

    def _marked(self, *, last: bool) -> tuple[int, int]:
        """Where the words end, and where a call begins, -1 for none."""
        at = self._left.find(self._form.opening) if self._given_up < MOST_GIVEN_UP else -1
        if at >= 0:
            return at, at
        overlap_length = 0 if last else overlap(self._left, self._form.opening)
        return len(self._left) - overlap_length, -1

    def _led(self, *, last: bool) -> tuple[int, int]:
        """As `_marked`, where a call has no words before it."""
        text, skipped = self._left, self._form.between if self.calls else self._form.skipped
        at = after_blanks(text, 0)
        if text.startswith(skipped, at):
            at = after_blanks(text, at + len(skipped))
        undecided = at == len(text) or skipped.startswith(text[at:])
        if not self._begun and undecided and not last:
            return 0, -1
        if not self._begun and text.startswith(self._form.opening, at):
            return 0, at
        return len(text), -1

    def _take(self, parser: CallParser, parts: list[AnswerPart], *, last: bool) -> bool:
        """Read the call at the beginning of what is left; False where more of it has to come."""
        try:
            whole = parser.read(self._left, last=last)
            if whole is None:
                if not last:
                    return False
                raise NoCallError
        except NoCallError:
            self._give_up(parts)
            return True
        calls, end = whole
        parts.extend(calls)
        self.calls += len(calls)
        self._left = self._left[end:]
        self._parser, self._after_call = None, True
        return True

    def _give_up(self, parts: list[AnswerPart]) -> None:
        """Tell the opening of a failed call as words."""
        self._parser, self._begun = None, True
        self._given_up += 1
        self._emit_text(parts, self._form.opening)
        self._left = self._left[len(self._form.opening) :]

    def _emit_text(self, parts: list[AnswerPart], words: str) -> None:
        text = self._blanks + words
        if self._after_call and not self._begun:
            text = text.lstrip()
        stripped = text.rstrip()
        self._blanks = text[len(stripped) :]
        if stripped:
            self._begun, self._after_call = True, False
            parts.append(stripped)
