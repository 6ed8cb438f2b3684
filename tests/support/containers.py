"""Reading `Dockerfile` and `docker-compose.yml` without Docker, as far as ours use their languages."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<word>[^}]*))?\}")


class VariableMissingError(Exception):
    """Compose would not start: a variable marked `:?` is unset or empty."""


@dataclass(frozen=True)
class Stage:
    """One `FROM`: the stage or image it begins with, and its own instructions in order."""

    name: str
    parent: str
    instructions: tuple[tuple[str, str], ...]


class Dockerfile:
    """Stages by name."""

    def __init__(self, path: Path) -> None:
        self.stages: dict[str, Stage] = {}
        joined = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
        lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
        for line in lines:
            word, rest = line.split(maxsplit=1)
            if word == "FROM":
                parent, _, name = rest.split()
                self.stages[name] = Stage(name, parent, ())
            else:
                last = self.stages.popitem()[1]
                self.stages[last.name] = Stage(last.name, last.parent, (*last.instructions, (word, rest)))

    def lineage(self, name: str) -> list[tuple[str, str]]:
        """What a stage is made by, its parents' instructions first."""
        stage = self.stages.get(name)
        return [*self.lineage(stage.parent), *stage.instructions] if stage else []

    def last(self, name: str, word: str) -> str:
        """The instruction of that word that counts in an image of the stage."""
        return [rest for given, rest in self.lineage(name) if given == word][-1]

    def argv(self, name: str) -> list[str]:
        """What an image of the stage runs; raises ValueError where a shell would stand before it."""
        return [*json.loads(self.last(name, "ENTRYPOINT")), *json.loads(self.last(name, "CMD"))]

    def env(self, name: str) -> dict[str, str]:
        pairs = [pair for word, rest in self.lineage(name) if word == "ENV" for pair in shlex.split(rest)]
        return dict(pair.split("=", 1) for pair in pairs)


def variables(path: Path) -> dict[str, str]:
    """What an env file sets."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose(path: Path, given: Mapping[str, str]) -> dict[str, Any]:
    """A compose file with its variables filled in. Raises VariableMissingError."""

    def filled(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        value = given.get(match["name"], "")
        if match["kind"] == ":?" and not value:
            raise VariableMissingError(match["name"])
        return value or match["word"] or ""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value) for value in node]
        return VARIABLE.sub(filled, node) if isinstance(node, str) else node

    read = dict(walk(yaml.safe_load(path.read_text(encoding="utf-8"))))
    for service in read["services"].values():
        service["environment"] = _environment(service.get("environment", {}), given)
    return read


def _environment(rows: Mapping[str, str | None], given: Mapping[str, str]) -> dict[str, str]:
    """A name without a value has that of the same name, if there is one."""
    filled = {name: given.get(name) if value is None else value for name, value in rows.items()}
    return {name: value for name, value in filled.items() if value is not None}
