"""A package's docstring ends with a newcomer's questions, each with the file and the name that answer it."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.snippets import ROOT

NAMES = ("api", "shared", "sightline", "worker")
PACKAGES = sorted(file.parent for name in NAMES for file in (ROOT / name).rglob("__init__.py"))
QUESTION = re.compile(r"[A-Z].+\? `([\w./]+)` \(`(.+)`\)\.")
DEFINITION = r"^ *(?:async )?(?:def |class |(?:local )?function |transition\(')?{}\b"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.relative_to(ROOT)))
def test_a_newcomer_s_questions_lead_to_the_code(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    questions = (text or "").rpartition("\n\n")[2].splitlines()
    assert len(questions) >= 3
    for question in questions:
        answer = QUESTION.fullmatch(question)
        assert answer, question
        # Of the package itself, or from the root on.
        file = next(place / answer[1] for place in (package, ROOT) if (place / answer[1]).exists())
        for name in answer[2].split("`, `"):
            defined = DEFINITION.format(re.escape(name))
            assert re.search(defined, file.read_text(encoding="utf-8"), re.MULTILINE), question
