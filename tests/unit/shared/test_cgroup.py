"""A container may use what its control group leaves, not what its machine has."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from shared import cgroup
from shared.cgroup import free_memory_bytes, memory_bytes


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Of a machine with 8000 bytes of memory, 4000 of them free, and 1000 of swap."""
    monkeypatch.setattr(cgroup, "CGROUP", tmp_path)
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 8}.__getitem__)
    memory = SimpleNamespace(total=8000, available=4000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=1000))
    return tmp_path


def container(group: Path, limit: str) -> None:
    """With 1900 bytes in use, 900 of them page cache."""
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text("1900\n")
    (group / "memory.stat").write_text("anon 500\nactive_file 300\ninactive_file 600\n")


def older_container(group: Path, limit: str) -> None:
    """The same, as version 1 of control groups tells it."""
    (group / "memory").mkdir()
    (group / "memory/memory.limit_in_bytes").write_text(f"{limit}\n")
    (group / "memory/memory.usage_in_bytes").write_text("1900\n")
    (group / "memory/memory.stat").write_text("cache 1\nactive_file 300\ninactive_file 600\n")


@pytest.mark.parametrize(
    ("limited", "limit", "told"),
    [
        (lambda *_: None, "", (8000, 4000, 5000)),
        (container, "max", (8000, 4000, 5000)),
        (container, "3000", (3000, 2000, 2000)),
        (older_container, "3000", (3000, 2000, 2000)),
        (container, "500", (500, 0, 0)),
    ],
    ids=["no container", "no limit", "limited", "limited by version 1", "beyond its limit"],
)
def test_page_cache_counts_as_free_and_nothing_beyond_the_limit(
    group: Path, limited: Callable[[Path, str], None], limit: str, told: tuple[int, int, int]
) -> None:
    limited(group, limit)
    assert (memory_bytes(), free_memory_bytes(swap=False), free_memory_bytes(swap=True)) == told
