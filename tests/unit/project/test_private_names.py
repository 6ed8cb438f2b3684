"""Which private names of dependencies we use, and where each stood when it was last looked at.

A new one fails here: use what is documented, or add it, for another engineer to check. One that moved with a
release fails here, before it does where a model is loaded.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import accelerate.hooks
import pytest
import torch
from redis.asyncio import Connection
from transformers import AutoModelForImageTextToText, GenerationMixin, LlavaConfig, LlavaProcessor
from transformers.utils import chat_template_utils
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.support.snippets import ROOT

PACKAGES = ("api", "shared", "sightline", "worker")
DOCUMENTED = {"_replace", "_asdict"}
"""Of named tuples."""
LISTED = {
    # uvicorn 0.54: what its protocol lacks is told in api/server/protocol.py.
    "_start_asgi_task": HttpToolsProtocol,
    "_unset_keepalive_if_required": HttpToolsProtocol,
    # redis-py 8.1: the exchange reads and writes its connection's own socket.
    "_writer": Connection(),
    # torch 2.13
    "_C": torch,
    "_cuda_endAllocateToPool": torch._C,
    "_cuda_releasePool": torch._C,
    "_is_vnni_supported": torch.cpu,
    "_linear_pointwise": torch.ops.mkldnn,
    "_reorder_linear_weight": torch.ops.mkldnn,
    "_is_mkldnn_bf16_supported": torch.ops.mkldnn,
    "_modules": torch.nn.Module(),
    "_forward_hooks": torch.nn.Module(),
    "_forward_pre_hooks": torch.nn.Module(),
    # transformers 5.23
    "_attn_implementation": LlavaConfig(),
    "_compile_jinja_template": chat_template_utils,
    "_get_logits_processor": GenerationMixin,
    "_get_num_multimodal_tokens": LlavaProcessor,
    "_model_mapping": AutoModelForImageTextToText,
    "_prefill": GenerationMixin,
    "_supports_mm_encoder_outputs": GenerationMixin,
    "_update_model_kwargs_for_generation": GenerationMixin,
    # accelerate 1.15
    "_hf_hook": accelerate.hooks.add_hook_to_module(torch.nn.Identity(), accelerate.hooks.ModelHook()),
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
    texts = [file.read_text("utf-8") for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
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
