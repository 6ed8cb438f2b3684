"""Functions: each one says what it takes, and is called with that."""

import json
import re
from pathlib import Path

import pytest

from shared.settings import Settings
from shared.store import claims
from shared.store.claims import Claim
from shared.store.script import FOLDER, LIBRARY, Library
from tests.support.functions import code, functions, helpers, sources
from tests.support.service import ROOT

NAMES = sorted(functions())
PYTHON = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "shared").rglob("*.py")))
WORDS = set(re.findall(r"\w+", PYTHON))


@pytest.mark.parametrize("name", NAMES)
def test_a_function_says_what_it_does_is_called_and_given_what_it_reads(name: str) -> None:
    function = functions()[name]
    assert re.search(r"^-- \S", function.header, re.M)
    assert name in re.findall(r'"(\w+)"', PYTHON)
    assert set(re.findall(r"\ba\.(\w+)", code(function.source))) - WORDS == set()


def test_every_function_of_a_file_is_called() -> None:
    # With which every call begins and ends, and what is named by a choice of functions.
    called = {"clock", "save", "finished", "mend_run", "mend_job"}
    called |= {"is_in_place", "put_back"}
    for function in functions().values():
        called |= set(re.findall(r"(?<![\w:])(?:[A-Z]\w*\.)?(\w+)\b", function.source))
    assert {name.rpartition(".")[2] for _, name in helpers()} - called == {"transition"}


def test_the_library_is_named_by_its_code(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.lua"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert Library(tmp_path).name == LIBRARY.name
    (tmp_path / "fair_queue.lua").write_text("-- nothing\n", encoding="utf-8")
    assert Library(tmp_path).name != LIBRARY.name


def test_every_kind_of_key_is_described() -> None:
    """Who changes a record finds who else writes it."""
    source = sources()
    written = set(re.findall(r"P \.\. '([a-z_]+)[:']", source)) - {"wake"}
    comments = "\n".join(line.partition("--")[2] for line in source.splitlines())
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert written - set(re.findall(r"\w+", comments + page)) == set()


def test_arguments_left_out_are_not_sent_as_null() -> None:
    claim = Claim("job_1", "t", "{}", "", 1, 0, "anyone", False)
    call = claims.give_back(Settings(), claim, reason="r", error=None)
    assert {"spend", "failure"} & set(json.loads(call.command[4])) == set()
