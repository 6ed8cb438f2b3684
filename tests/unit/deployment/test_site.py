"""The site of `make docs`: every page is found in its navigation, and a link that leads nowhere stops it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from docs.generate.navigation import on_config
from tests.support.service import ROOT


def test_every_page_of_the_index_stands_in_the_navigation() -> None:
    nav: list[dict[str, Any]] = on_config(SimpleNamespace(nav=None)).nav
    pages = {page for section in nav for entry in section.values() for page in _listed(entry)}
    beside = {"docs/README.md"} | {str(path.relative_to(ROOT)) for path in ROOT.glob("docs/clients/*.md")}
    assert pages | beside >= {str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")} | beside
    assert all((ROOT / page).is_file() for page in pages)


def _listed(entry: Any) -> list[str]:
    return [entry] if isinstance(entry, str) else entry


def test_a_link_that_leads_nowhere_stops_the_site(tmp_path: Path) -> None:
    pages = tmp_path / "build/pages"
    pages.mkdir(parents=True)
    shutil.copytree(
        ROOT / "docs/generate", tmp_path / "docs/generate", ignore=shutil.ignore_patterns("*.pyc")
    )
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    (tmp_path / "docs/README.md").write_text("# Index\n\n## Use it\n\n[README](../README.md)\n")
    (pages / "docs").mkdir()
    (pages / "docs/README.md").write_text("# Index\n")
    (pages / "README.md").write_text("# Sightline\n\n[index](docs/README.md)\n")
    assert _build(tmp_path) == 0
    (pages / "README.md").write_text(
        "# Sightline\n\n[index](docs/nowhere.md), [place](docs/README.md#nowhere)\n"
    )
    assert _build(tmp_path) != 0


def _build(folder: Path) -> int:
    argv = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build"]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, timeout=120).returncode
