"""Two builds of one commit get the same packages: `constraints.txt` has each that is asked for."""

import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.service import ROOT

OLDEST = {"python_full_version": "3.11.0", "python_version": "3.11"}
"""The first Python that may run it: some packages ask for more there."""
ITSELF = "pip"
"""It makes the environment; what is installed there finds it."""
GPU = ("cuda-", "nvidia-", "triton")
"""How what torch's CUDA builds bring begins; `constraints.txt` leaves it to them."""


def asked() -> list[str]:
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = whole["project"]["optional-dependencies"]
    named = [name for names in extras.values() for name in names]
    return [*whole["build-system"]["requires"], *whole["project"]["dependencies"], *named]


def below(line: str, extra: str) -> Iterator[tuple[str, str]]:
    """What a requirement asks for in its turn, with that extra of its own: package and extra."""
    requirement = Requirement(line)
    marker = requirement.marker
    if marker is None or any(marker.evaluate({"extra": extra} | python) for python in ({}, OLDEST)):
        name = canonicalize_name(requirement.name)
        if not name.startswith(GPU):
            yield from ((name, of) for of in ("", *requirement.extras))


def needed() -> set[str]:
    """All packages, as far as those that are installed here name theirs."""
    left = [found for line in asked() for found in below(line, "")]
    seen: set[tuple[str, str]] = set()
    while left:
        name, extra = left.pop()
        if (name, extra) not in seen:
            seen.add((name, extra))
            try:
                left += [found for line in requires(name) or [] for found in below(line, extra)]
            except PackageNotFoundError:
                continue
    return {name for name, _ in seen}


def test_no_package_comes_in_another_version_tomorrow() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    assert needed() - pinned == {ITSELF}
