"""Which requests ask for the same computation.

The hash is one line over a string that can be read by eye: two requests differ if and only if their
canonical strings do."""

import hashlib
from typing import Any

from pydantic_core import to_json

from shared.request import LOOK, Image, Message, Parameters, Request, Text
from shared.tool_calls.numbering import numbers

HASH_VERSION = 1


def canonical(request: Request, revision: str) -> str:
    """Everything that changes the answer, in one order.

    Raises ValueError for a picture or a sound without a digest.
    """
    fields = {
        "continue_final": request.continue_final,
        "messages": [
            _message(*turn, request.parameters)
            for turn in zip(request.messages, numbers(request.messages), strict=True)
        ],
        "model": request.model,
        "parameters": _parameters(request.parameters),
        "raw": request.raw,
        "revision": revision,
        **({} if request.tools is None else {"tools": request.tools.model_dump(exclude_none=True)}),
        "version": HASH_VERSION,
    }
    return to_json(fields).decode()


def request_hash(request: Request, revision: str) -> str:
    """Raises as `canonical`."""
    return hashlib.sha256(canonical(request, revision).encode()).hexdigest()


def _message(message: Message, called: tuple[int, ...], parameters: Parameters) -> dict[str, Any]:
    parts = []
    for part in message.parts:
        if isinstance(part, Text):
            parts.append({"text": part.text})
        elif part.digest is not None:
            look = parameters.look | part.look if isinstance(part, Image) else {}
            parts.append({part.type: part.digest, **look})
        else:
            raise ValueError("it has no digest yet: its bytes are not in the blob store")
    return {**_calls(message, called), "parts": parts, "role": message.role}


def _calls(message: Message, called: tuple[int, ...]) -> dict[str, Any]:
    """Calls by number, whatever ids their callers gave them."""
    if message.role == "tool":
        return {"answers": next(iter(called), None)}
    return {"calls": [[call.name, call.arguments] for call in message.calls]} if message.calls else {}


def _parameters(parameters: Parameters) -> dict[str, Any]:
    """Parameters left out stay out, so that one added later does not change old hashes."""
    parameters_set = parameters.model_dump(exclude_none=True, exclude={*LOOK})
    # -0.0 equals 0.0 but is written otherwise.
    parameters_set = {k: v + 0.0 if isinstance(v, float) else v for k, v in parameters_set.items()}
    return parameters_set | {"stop": sorted(set(parameters.stop))}


# May this answer be shared? The one predicate for a cache hit, joining a run, its index and cache writes.

EVERYBODY = "*"
"""No caller's id."""


def reuse_scope(caller: str, *, shared: bool) -> str:
    """Whose cached answers and runs in flight a caller may get: the caller's own, or everybody's."""
    return EVERYBODY if shared else caller


def reuse_key(caller: str, hashed: str, *, shared: bool) -> str:
    """The key of the answer to requests of one hash (`request_hash`); `shared` as above."""
    return f"{reuse_scope(caller, shared=shared)}:{hashed}"


def reusable(request: Request, *, use_cache: bool, samples_default: bool | None, hf: bool) -> bool:
    """Whether an identical request may get the same answer; where False, `x-cache` is BYPASS.

    A caller who samples without a seed asks for a new draw, except on the Hugging Face routes, whose
    documentation promises the cache. `samples_default` is the generation config's do_sample; None (no worker
    has published it yet) counts as sampling.
    """
    if not use_cache:
        return False
    if hf or request.parameters.seed is not None:
        return True
    return not request.parameters.samples(samples_default is not False)
