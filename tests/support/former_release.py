"""The release before this one, out of the repository's history.

Its commit stands in tests/data/former_release.txt.
"""

import io
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from shared.store.keys import PREFIX

ROOT = Path(__file__).parents[2]
COMMIT = (ROOT / "tests/data/former_release.txt").read_text(encoding="utf-8").strip()
PARTS = (
    "api",
    "models",
    "models.toml",
    "shared",
    "sightline",
    "worker",
)


class FormerRelease:
    """Its files in a folder; it runs with our packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shapes = folder / "shared/store/shapes.toml"
        # A release that named no shapes had promised nothing.
        self.same_layout = shapes.exists() and f'layout = "{PREFIX}"' in shapes.read_text(encoding="utf-8")


@contextmanager
def former_release() -> Iterator[FormerRelease]:
    """Skips the test where the history does not hold it."""
    archive = subprocess.run(
        ["git", "archive", COMMIT, *PARTS],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        pytest.skip(f"the history here does not hold {COMMIT[:8]}, the release before: git fetch --unshallow")
    with TemporaryDirectory(prefix="sightline-former-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        yield FormerRelease(Path(folder))
