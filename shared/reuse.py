"""May this answer be shared? The one predicate for a cache hit, joining a run, its index and cache writes."""

from shared.request import Request

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
