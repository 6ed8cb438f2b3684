"""JavaScript as a user of the clients types it, run by the Node.js that `make test-clients` installs."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.service import ROOT

FOLDER = ROOT / "tests/contract/js"
PACKAGES = FOLDER / "node_modules"
NODE = PACKAGES / ".bin/node"


class JsError(Exception):
    """What JavaScript threw: `facts` has its `class`, its `message` and its own fields."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__(f"{facts['class']}: {facts['message']}")
        self.facts = facts


class Node:
    """One process for many calls: loading the clients takes longer than asking with them."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, source: str, **names: Any) -> Any:
        """What `source`, an async function's body, returns, as far as JSON can tell it.

        It knows `names`, and `load(package)`, which is import(). What it leaves on `globalThis` is there for
        the next call. Raises JsError where it throws, or is not done within a minute.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"source": source, "names": names}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "Node.js ended; what it said stands above"
        told = json.loads(answer)
        if "error" in told:
            raise JsError(told["error"])
        return told["value"]


@contextmanager
def running_node() -> Iterator[Node]:
    """Fails where Node.js and the clients are not installed."""
    assert NODE.exists(), "`make test-clients` installs Node.js and the clients, and runs these tests"
    pipe = subprocess.PIPE
    command = (str(NODE), str(FOLDER / "run.mjs"))
    with subprocess.Popen(command, cwd=FOLDER, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Node(process)
        finally:
            process.terminate()
