"""Where the engines of tests compute whose models name no device: TEST_DEVICE, such as cuda, else the CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

DEVICE = os.environ.get("TEST_DEVICE", "cpu")
if DEVICE == "far":
    # Registers itself with torch.
    import tests.support.remote_device  # noqa: F401


@contextmanager
def on_test_device() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "worker.engines.loading.pretrained._device", lambda name: DEVICE if name == "auto" else name
        )
        yield
