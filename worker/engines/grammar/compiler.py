"""Compiles what holds answers to a JSON Schema, an expression, a choice, a caller's grammar, or calls.

Before each token llguidance reports which ones may come next. It reads the model's own tokenizer and builds
its automata as it goes, so that nothing is computed ahead for the vocabulary.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from shared.errors import CallerError
from shared.request import Format
from shared.tool_calls.thoughts import Marks
from worker.engines.grammar.lark import Mark, Spacing, behind_thoughts, lark, quoted
from worker.engines.grammar.sandbox import compile_error, matcher_error, start_matcher
from worker.engines.grammar.token_bytes import guidance_tokenizer
from worker.engines.grammar.tool_calls import CallGrammar
from worker.fair_semaphore import FairSemaphore, Waiter

PLACES = FairSemaphore(2)
"""For grammars in the sandbox at once, of all models; each may take all of its time and memory."""
MAX_CACHED = 256
"""Results cached for all callers together."""


@lru_cache(MAX_CACHED)
def sandbox_error(grammar: str, caller: str) -> str:
    """Why this grammar cannot be used; "" if it can. Raises SandboxError.

    A new grammar waits for a place, where callers take turns, then takes a tenth of a second to some seconds.
    Callers share no result, so that none can tell from an answer's time what another one sent.
    """
    with PLACES.reserve(1, Waiter(caller)):
        return compile_error(grammar)


# JSON allows any number of spaces and line feeds, and a model that has lost its way would write nothing else.
SPACING: Spacing = {"whitespace_pattern": " "}
UNUSABLE = {"format": "The format cannot be used", "tools": "Calls cannot be held to these schemas"}
"""What is wrong with a parameter, in words."""


class Grammars:
    """Compiles grammars for one model's tokens; may be used from several threads."""

    def __init__(self, tokenizer: Any, end_ids: Iterable[int | None]) -> None:
        """An unreadable tokenizer is reported only once it is needed."""
        self._added: dict[str, int] = tokenizer.get_added_vocab()
        self.tokenizer = guidance_tokenizer(tokenizer, end_ids)

    def compile(self, wanted: Format, caller: str = "", thoughts: Marks | None = None) -> LLMatcher:
        """The matcher for one answer, whose `thoughts` the format does not bind.

        A new format goes through the sandbox first, where callers take turns.

        Raises CallerError `invalid_request` for a format that cannot be used, `unsupported_parameter` if the
        model's tokenizer cannot be read.
        """
        return self._compiled(lambda _: lark(wanted, SPACING), thoughts, "format", caller)

    def calls(self, wanted: CallGrammar, caller: str = "", thoughts: Marks | None = None) -> LLMatcher:
        """As `compile`, for calls of functions."""
        return self._compiled(wanted.lark, thoughts, "tools", caller)

    def mark(self, text: str) -> str:
        """A mark as a grammar writes it: as its token, if it is one, else as text."""
        return f"<[{self._added[text]}]>" if text in self._added else quoted(text)

    def _compiled(
        self, write: Callable[[Mark], str], thoughts: Marks | None, param: str, caller: str
    ) -> LLMatcher:
        if self.tokenizer is None:
            message = "This model's answers cannot be held to a format: its tokenizer has no known form."
            raise CallerError("unsupported_parameter", message, param=param)
        try:
            # The sandbox does not know the model's tokens, so its grammar has the marks as text.
            sandboxed, grammar = (
                LLMatcher.grammar_from_lark(behind_thoughts(write(mark), thoughts, mark))
                for mark in (quoted, self.mark)
            )
        except ValueError as error:
            raise _unusable(param, str(error)) from None
        if why := sandbox_error(sandboxed, caller):
            raise _unusable(param, why)
        matcher = start_matcher(self.tokenizer, grammar)
        if why := matcher_error(matcher):
            raise _unusable(param, why)
        return matcher


def _unusable(param: str, why: str) -> CallerError:
    return CallerError("invalid_request", f"{UNUSABLE[param]}: {why}.", param=param)
