"""The forms in which open models write calls. A model's form is read from its chat template.

    hermes        <tool_call>{"name": …, "arguments": {…}}</tool_call>      Qwen2.5-VL, Qwen3-VL and their kin
    llama         {"name": …, "parameters": {…}} and nothing else           Llama 3.2 and 4
    mistral       [TOOL_CALLS] [{"name": …, "arguments": {…}}, …]           Pixtral, Mistral Small 3.1
    mistral_args  [TOOL_CALLS]name[ARGS]{…}, again for each call            Mistral Small 3.2 and later

Sources: the models' chat templates, and for Mistral its tokenizers' guide."""

import re
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Literal, get_args

from shared.tool_calls.call import ParsedCall

Syntax = Literal["hermes", "llama", "mistral", "mistral_args"]
Known = Syntax | Literal[""]
"""What is known of a model: the form of its calls, or that it takes no functions."""
SYNTAXES: tuple[Syntax, ...] = get_args(Syntax)
PLAIN: Syntax = "llama"
"""JSON and nothing else: for a model without a form of its own that has to call."""

MARKS: dict[Syntax, tuple[str, ...]] = {
    "hermes": ("<tool_call>", "</tool_call>"),
    "llama": ("<|python_tag|>",),
    "mistral": ("[TOOL_CALLS]",),
    "mistral_args": ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
}
"""Marks of calls that may be special tokens, which are otherwise left out of the text."""

# Whether a template has a place for functions: a variable of this name inside Jinja's braces.
_PLACE = re.compile(r"\{[{%](?:(?![}%]\}).)*?\btools\b", re.DOTALL)
# Signs of other forms between the same tags: Qwen3.5's and GLM's.
_OTHER = ("<function=", "<arg_key>")
# Inside Jinja's strings quotes may have a backslash before them.
_HERMES = re.compile(r'"arguments\\?"')
_LLAMA = re.compile(r'"name\\?":.{0,80}?"parameters\\?":', re.DOTALL)


@lru_cache(maxsize=8)
def syntax_of(template: str) -> Known:
    """Empty where a template has no place for functions, or none of these forms."""
    if not _PLACE.search(template):
        return ""
    if "[TOOL_CALLS]" in template:
        return "mistral_args" if "[ARGS]" in template else "mistral"
    if "<tool_call>" in template and _HERMES.search(template):
        return "" if any(sign in template for sign in _OTHER) else "hermes"
    return "llama" if _LLAMA.search(template) else ""


def read_syntax(name: str) -> Known:
    """The form that a worker told; "" for one that only a newer release knows."""
    return next((syntax for syntax in SYNTAXES if syntax == name), "")


def overlap(text: str, mark: str) -> int:
    """Length of the longest end of the text that is a beginning of the mark."""
    at = text.find(mark[:1], max(0, len(text) - len(mark) + 1))
    while at >= 0 and not mark.startswith(text[at:]):
        at = text.find(mark[:1], at + 1)
    return len(text) - at if at >= 0 else 0


Whole = tuple[list[ParsedCall], int]
"""Calls, and where the text goes on after them."""


class CallParser(ABC):
    """A text that starts with `opening` and may become a call, in one of the forms.

    It looks at no letter of the growing text more than a few times. With `leads` calls stand only at the
    beginning of an answer, where `skipped` may come before the first and `between` before each further one.
    """

    opening: str
    leads: bool = False
    skipped: str = ""
    between: str = ""

    @abstractmethod
    def read(self, text: str, *, last: bool) -> Whole | None:
        """Return the calls at the beginning of the text; None where more must come.

        `last` says that no more will come. Raises NoCallError where the text is no call.
        """
