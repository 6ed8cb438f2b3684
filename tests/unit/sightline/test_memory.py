"""A machine that is too small says so before anything is started."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.models import Model
from sightline.exits import CommandError, Exit
from sightline.serving.memory import check_memory

TINY = Model(id="org/tiny", source="org/tiny", engine="sequential")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """So many MB."""

    def set_free(free_mb: int) -> None:
        monkeypatch.setattr("sightline.serving.memory.free_memory_bytes", lambda **_: free_mb << 20)

    return set_free


def test_machine_without_enough_memory_is_told_both_figures(free: Callable[[int], None]) -> None:
    free(4000)
    check_memory([TINY])
    free(200)
    with pytest.raises(CommandError, match=r"needs about \d+ MB, 200 MB are free") as caught:
        check_memory([TINY])

    assert caught.value.code is Exit.MEMORY


def test_weights_count_and_echo_needs_little(tmp_path: Path, free: Callable[[int], None]) -> None:
    (tmp_path / "model.safetensors").touch()
    os.truncate(tmp_path / "model.safetensors", 2_000_000_000)
    big = Model(id="org/big", source=str(tmp_path), engine="sequential")

    free(500)
    check_memory([Model(id="org/echo", engine="echo")])
    free(2000)
    with pytest.raises(CommandError, match="Not enough memory"):
        check_memory([big])


@pytest.mark.parametrize("limit_mb", [586, 800])
def test_a_limit_of_each_process_is_said_and_not_met_as_a_crash_of_a_library(
    limit_mb: int, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ulimit -v`: a worker needs more addresses than memory."""
    monkeypatch.setattr(
        resource, "getrlimit", {resource.RLIMIT_AS: (limit_mb << 20, resource.RLIM_INFINITY)}.__getitem__
    )
    free(4000)

    check_memory([Model(id="org/echo", engine="echo")])
    with pytest.raises(
        CommandError, match=rf"850 MB of addresses and may have {limit_mb}; .*ulimit -v"
    ) as caught:
        check_memory([TINY])
    assert caught.value.code is Exit.MEMORY
