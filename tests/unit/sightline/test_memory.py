"""A machine that is too small says so before anything is started."""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from shared.models import Model
from sightline.exits import CommandError, Exit
from sightline.serving.memory import check_memory, whole_mb

TINY = Model(id="org/tiny", source="org/tiny", engine="sequential")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Of a machine without swap, so many MB."""

    def set_free(free_mb: int) -> None:
        memory = SimpleNamespace(total=62_500 << 20, available=free_mb << 20)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
        monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=0))

    return set_free


def container(folder: Path, limit_mb: int, used_mb: int, cache_mb: int) -> Path:
    (folder / "memory.max").write_text(f"{limit_mb << 20}\n")
    (folder / "memory.current").write_text(f"{used_mb << 20}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cache_mb << 20}\nactive_file 0\n")
    return folder


def older_container(folder: Path, limit_mb: int, used_mb: int, cache_mb: int) -> Path:
    """As version 1 of cgroups tells it."""
    told = folder / "memory"
    told.mkdir()
    (told / "memory.limit_in_bytes").write_text(f"{limit_mb << 20}\n")
    (told / "memory.usage_in_bytes").write_text(f"{used_mb << 20}\n")
    (told / "memory.stat").write_text(f"cache 1\ninactive_file {cache_mb << 20}\nactive_file 0\n")
    return folder


def test_machine_with_enough_memory_starts(tmp_path: Path, free: Callable[[int], None]) -> None:
    free(4000)
    check_memory([TINY], tmp_path)


def test_machine_without_enough_memory_is_told_both_figures(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(200)
    with pytest.raises(CommandError, match=r"needs about \d+ MB, 200 MB are free") as caught:
        check_memory([TINY], tmp_path)

    assert caught.value.code is Exit.MEMORY


@pytest.mark.parametrize("limited", [container, older_container])
def test_limit_of_a_container_counts_not_only_the_machine(
    limited: Callable[[Path, int, int, int], Path], tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(4000)
    with pytest.raises(CommandError, match="100 MB are free"):
        check_memory([TINY], limited(tmp_path, 1000, 1000, 100))


def test_page_cache_of_a_container_counts_as_free(tmp_path: Path, free: Callable[[int], None]) -> None:
    free(4000)
    check_memory([TINY], container(tmp_path, 4000, 4000, 3900))


def test_weights_count_and_echo_needs_little(tmp_path: Path, free: Callable[[int], None]) -> None:
    (tmp_path / "model.safetensors").touch()
    os.truncate(tmp_path / "model.safetensors", 2_000_000_000)
    big = Model(id="org/big", source=str(tmp_path), engine="sequential")

    free(500)
    check_memory([Model(id="org/echo", engine="echo")], tmp_path)
    free(2000)
    with pytest.raises(CommandError, match="Not enough memory"):
        check_memory([big], tmp_path)


@pytest.mark.parametrize("limit_mb", [586, 800])
def test_a_limit_of_each_process_is_said_and_not_met_as_a_crash_of_a_library(
    limit_mb: int, tmp_path: Path, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ulimit -v`: a worker needs more addresses than memory."""
    monkeypatch.setattr(
        resource, "getrlimit", {resource.RLIMIT_AS: (limit_mb << 20, resource.RLIM_INFINITY)}.__getitem__
    )
    free(4000)

    check_memory([Model(id="org/echo", engine="echo")], tmp_path)
    with pytest.raises(
        CommandError, match=rf"850 MB of addresses and may have {limit_mb}; .*ulimit -v"
    ) as caught:
        check_memory([TINY], tmp_path)
    assert caught.value.code is Exit.MEMORY


@pytest.mark.parametrize("limited", [container, older_container])
def test_records_share_what_a_container_may_have_and_not_what_its_machine_has(
    limited: Callable[[Path, int, int, int], Path], tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(4000)
    assert whole_mb(tmp_path) == 62500
    assert whole_mb(limited(tmp_path, 1000, 900, 100)) == 1000
