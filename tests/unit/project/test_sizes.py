"""How large the project may be. Raise a number only with its reason in the same commit."""

from pathlib import Path

import pytest

from tests.support.snippets import ROOT

MOST_LINES = {
    "api": 15_128,
    "shared": 12_292,
    "worker": 13_944,
    "sightline": 7_093,
    "tests": 69_998,
    "benchmarks": 6_485,
}
"""Of Python, with its comments."""
MOST_LUA_LINES = 4_466
MOST_MODULES = {"api": 99, "shared": 101, "worker": 96, "sightline": 56}


def files(folder: str, pattern: str) -> list[Path]:
    return [file for file in (ROOT / folder).rglob(pattern) if "node_modules" not in file.parts]


def lines(folder: str, pattern: str) -> int:
    return sum(file.read_bytes().count(b"\n") for file in files(folder, pattern))


@pytest.mark.parametrize("package", MOST_LINES)
def test_a_package_has_no_more_lines(package: str) -> None:
    assert lines(package, "*.py") <= MOST_LINES[package]


def test_the_functions_of_the_store_have_no_more_lines() -> None:
    assert lines("shared/store/functions", "*.lua") <= MOST_LUA_LINES


@pytest.mark.parametrize("package", MOST_MODULES)
def test_a_package_has_no_more_modules(package: str) -> None:
    assert len(files(package, "*.py")) <= MOST_MODULES[package]
