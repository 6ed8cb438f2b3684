"""Which private names of dependencies we use, and where each stood when it was last looked at.

A new one fails here: use what is documented, or add it, for another engineer to check. One that moved with a
release fails here, before it does where a model is loaded.
"""

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from redis.asyncio import Connection

from tests.support.snippets import ROOT

PACKAGES = ("api", "shared", "sightline", "worker")
DOCUMENTED = {"_replace", "_asdict"}
"""Of named tuples."""
LISTED = {
    # redis-py 8.1: the exchange reads and writes its connection's own socket.
    "_writer": Connection(),
    # torch 2.13
    "_C": torch,
    "_cuda_endAllocateToPool": torch._C,
    "_cuda_releasePool": torch._C,
    "_linear_pointwise": torch.ops.mkldnn,
    "_reorder_linear_weight": torch.ops.mkldnn,
    "_is_mkldnn_bf16_supported": torch.ops.mkldnn,
}
INTERNALS = ROOT / "worker/engines/loading/transformers_internals.py"
"""The only module that may use private names of transformers: these, with the arguments that it gives."""
OF_TRANSFORMERS = {
    "generation.GenerationMixin._get_logits_processor": (
        *("generation_config", "input_ids_seq_length", "encoder_input_ids", "logits_processor", "device"),
        "model_kwargs",
    ),
    "generation.GenerationMixin._prefill": (
        *("input_ids", "generation_config", "model_kwargs", "is_first_iteration"),
    ),
    "generation.GenerationMixin._update_model_kwargs_for_generation": (
        *("outputs", "model_kwargs", "is_encoder_decoder"),
    ),
    "generation.utils.MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL": (),
    "generation.utils._slice_mm_encoder_output": ("output", "rows"),
    "generation.GenerationMixin._supports_mm_encoder_outputs": (),
    "LlavaConfig._attn_implementation": (),
    "LlavaProcessor._get_num_multimodal_tokens": ("image_sizes",),
    "utils.chat_template_utils._compile_jinja_template": ("chat_template",),
}

NAME = re.compile(r"\b_\w+")
INHERITED = re.compile(r"super\(\)\._[^_]")
DEFINITION = re.compile(
    r"^ *(?:async def|def|class) (\w+)|^ *((?:[\w., ]+ = )*[\w., ]+)(?:: [^=\n]+)? = |^ +(_\w+): ",
    re.MULTILINE,
)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def used(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Names, and whether `super()` has them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, getattr(getattr(node.value, "func", None), "id", "") == "super"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] not in PACKAGES:
            yield from ((name.name, False) for name in node.names)
            yield from ((part, False) for part in (node.module or "").split("."))


def test_no_private_name_of_a_dependency_is_used_but_those_listed() -> None:
    """Of all files only those are parsed in which such a name may be: parsing takes longest."""
    files = {file for package in PACKAGES for file in (ROOT / package).rglob("*.py")} - {INTERNALS}
    texts = [file.read_text("utf-8") for file in files]
    defined = Counter(
        name for text in texts for found in DEFINITION.findall(text) for name in NAME.findall("".join(found))
    )
    found = {
        name
        for text in texts
        if any(map(is_private, set(NAME.findall(text)) - defined.keys())) or INHERITED.search(text)
        for name, inherited in used(ast.parse(text))
        if is_private(name) and defined[name] < (2 if inherited else 1)
    }
    assert found == set(LISTED)


@pytest.mark.parametrize("name", LISTED)
def test_a_private_name_is_where_it_was(name: str) -> None:
    built: Any = torch.backends.mkldnn
    if LISTED[name] is torch.ops.mkldnn and not built.is_available():
        pytest.skip("this torch has no oneDNN")
    assert hasattr(LISTED[name], name)


def test_the_module_of_transformers_internals_uses_those_listed() -> None:
    names = {name for name, _ in used(ast.parse(INTERNALS.read_text("utf-8"))) if is_private(name)}
    listed = {place.rpartition(".")[2] for place in OF_TRANSFORMERS}
    assert names == {name for name in listed if is_private(name)}


@pytest.mark.parametrize("place", OF_TRANSFORMERS)
def test_what_is_inside_transformers_is_where_it_was(place: str) -> None:
    found = resolve_name(f"transformers.{place}")
    if wanted := OF_TRANSFORMERS[place]:
        assert [name for name in inspect.signature(found).parameters if name in wanted] == list(wanted)
