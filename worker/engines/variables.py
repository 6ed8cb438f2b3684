"""Variables of a model's chat template, such as `enable_thinking`."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import meta
from transformers.utils import chat_template_utils

from shared.request import Parameters
from shared.variables import Value


def variables(
    template: str, parameters: Parameters, defaults: Mapping[str, Value], escape: Callable[[str], str]
) -> dict[str, Value]:
    """Those that the template reads. Others change nothing: transformers would hand them to the processor."""
    given = {**defaults, **dict(parameters.chat_template_kwargs or ())}
    return {
        name: escape(value) if isinstance(value, str) else value
        for name, value in given.items()
        if name in _read_by(template)
    }


@lru_cache(maxsize=8)
def _read_by(template: str) -> frozenset[str]:
    """The names that a template expects from outside, without functions."""
    compiled: Any = chat_template_utils._compile_jinja_template
    environment = compiled(template).environment
    names = meta.find_undeclared_variables(environment.parse(template))
    return frozenset(names - environment.globals.keys())
