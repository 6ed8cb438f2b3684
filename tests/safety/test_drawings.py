"""No SVG shows a picture of this machine, whatever its renderer reads in it."""

import io
from pathlib import Path

import pytest
from PIL import Image

from shared.media.decode_svg import rendered
from tests.safety.drawings import drawing

MARKER, SIZE, DRAWINGS = (17, 200, 33), (40, 20), 4000


def colours(data: bytes) -> set[object]:
    """Return the colours of a rendered drawing, or none if it is refused."""
    try:
        with Image.open(io.BytesIO(rendered(data, SIZE))) as seen:
            return {colour for _, colour in seen.convert("RGB").getcolors(800) or ()}
    except ValueError:
        return set()


def test_no_drawing_shows_a_file_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which no confinement keeps from its files."""
    for name in ("marker.png", "#marker.png", "data:marker.png"):
        Image.new("RGB", SIZE, MARKER).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "marker.png"
    seen = [colours(drawing(seed, marker)) for seed in range(DRAWINGS)]
    assert [seed for seed, found in enumerate(seen) if MARKER in found] == []
    assert sum(map(bool, seen)) > DRAWINGS / 10, "too few are drawn to show anything"
