"""The variables that a model's chat template reads, such as `enable_thinking`, and which template it is."""

import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import meta
from transformers.utils import chat_template_utils

from shared.request import Parameters
from shared.variables import Value

log = logging.getLogger("worker.engines.prompt")
# transformers' names for the template for chats and the one with functions, if a model has several.
CHATS, FUNCTIONS = "default", "tool_use"


def template_of(processor: Any) -> Any:
    """The chat template, or several by name; None if there is none for chats."""
    template = getattr(processor, "chat_template", None) or processor.tokenizer.chat_template
    if isinstance(template, dict) and CHATS not in template:
        log.warning("of the model's chat templates none is named %s, so chats are refused", CHATS)
        return None
    return template


def template_text(template: Any, *, shows: bool = False) -> str | None:
    """The text of the template for chats, or with `shows` of the one for chats with functions.

    A processor finds its own templates by name, but not its tokenizer's.
    """
    if isinstance(template, dict):
        template = template.get(FUNCTIONS if shows else CHATS, template[CHATS])
    return template or None


def variables(
    template: str, parameters: Parameters, defaults: Mapping[str, Value], escape: Callable[[str], str]
) -> dict[str, Value]:
    """Those that the template reads. Others change nothing: transformers would hand them to the processor."""
    values = {**defaults, **dict(parameters.chat_template_kwargs or ())}
    return {
        name: escape(value) if isinstance(value, str) else value
        for name, value in values.items()
        if name in _read_by(template)
    }


@lru_cache(maxsize=8)
def _read_by(template: str) -> frozenset[str]:
    """The names that a template expects from outside, without functions."""
    compiled: Any = chat_template_utils._compile_jinja_template
    environment = compiled(template).environment
    names = meta.find_undeclared_variables(environment.parse(template))
    return frozenset(names - environment.globals.keys())
