"""Draws that a seed alone decides.

Hypothesis takes some values from the constants of our loaded modules, and which are loaded depends on the
tests that ran in this process before.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants


@contextmanager
def decided_by_seed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(providers, "_get_local_constants", Constants)
        # It also caches which constants fit a place.
        patch.setattr(providers, "CONSTANTS_CACHE", type(providers.CONSTANTS_CACHE)(1024))
        yield
