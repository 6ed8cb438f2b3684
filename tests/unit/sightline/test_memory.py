"""A machine that is too small says so before anything is started."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.models import Model
from sightline.exits import CommandError, Exit
from sightline.serving.memory import check_memory, whole_mb

TINY = Model(id="org/tiny", source="org/tiny", engine="sequential")


def machine(folder: Path, free_mb: int) -> Path:
    file = folder / "meminfo"
    file.write_text(f"MemTotal: 64000000 kB\nMemAvailable: {free_mb * 1024} kB\nSwapFree: 0 kB\n")
    return file


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


def test_machine_with_enough_memory_starts(tmp_path: Path) -> None:
    check_memory([TINY], machine(tmp_path, 4000), tmp_path)


def test_machine_without_enough_memory_is_told_both_figures(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"needs about \d+ MB, 200 MB are free") as caught:
        check_memory([TINY], machine(tmp_path, 200), tmp_path)

    assert caught.value.code is Exit.MEMORY


@pytest.mark.parametrize("limited", [container, older_container])
def test_limit_of_a_container_counts_not_only_the_machine(
    limited: Callable[[Path, int, int, int], Path], tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match="100 MB are free"):
        check_memory([TINY], machine(tmp_path, 4000), limited(tmp_path, 1000, 1000, 100))


def test_page_cache_of_a_container_counts_as_free(tmp_path: Path) -> None:
    check_memory([TINY], machine(tmp_path, 4000), container(tmp_path, 4000, 4000, 3900))


def test_weights_count_and_echo_needs_little(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    os.truncate(tmp_path / "model.safetensors", 2_000_000_000)
    big = Model(id="org/big", source=str(tmp_path), engine="sequential")

    check_memory([Model(id="org/echo", engine="echo")], machine(tmp_path, 500), tmp_path)
    with pytest.raises(CommandError, match="Not enough memory"):
        check_memory([big], machine(tmp_path, 2000), tmp_path)


@pytest.mark.parametrize("limit_mb", [586, 800])
def test_a_limit_of_each_process_is_said_and_not_met_as_a_crash_of_a_library(
    limit_mb: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ulimit -v`: a worker needs more addresses than memory."""
    monkeypatch.setattr(
        resource, "getrlimit", {resource.RLIMIT_AS: (limit_mb << 20, resource.RLIM_INFINITY)}.__getitem__
    )
    enough = machine(tmp_path, 4000)

    check_memory([Model(id="org/echo", engine="echo")], enough, tmp_path)
    with pytest.raises(
        CommandError, match=rf"850 MB of addresses and may have {limit_mb}; .*ulimit -v"
    ) as caught:
        check_memory([TINY], enough, tmp_path)
    assert caught.value.code is Exit.MEMORY


def test_machine_that_does_not_say_is_not_refused(tmp_path: Path) -> None:
    check_memory([TINY], tmp_path / "missing", tmp_path / "missing")


@pytest.mark.parametrize("limited", [container, older_container])
def test_records_share_what_a_container_may_have_and_not_what_its_machine_has(
    limited: Callable[[Path, int, int, int], Path], tmp_path: Path
) -> None:
    whole = machine(tmp_path, 4000)
    assert whole_mb(whole, tmp_path) == 62500
    assert whole_mb(whole, limited(tmp_path, 1000, 900, 100)) == 1000
    assert whole_mb(tmp_path / "missing", tmp_path / "missing") is None
