"""What the record store's keys look like: as shared/store/shapes.toml says, and as a store really holds."""

import json
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from shared.store.keys import PREFIX
from shared.store.script import FOLDER

FILE = FOLDER.parent / "shapes.toml"
JSON = ("r", "s", "t", "q")
"""Fields that hold others as a JSON object."""
_KEY = re.compile(r"(?P<record>[a-z]+[_-])[0-9a-f]+(?P<beside>:[a-z]+)?|(?P<name>[a-z_]+)(?P<of>.+)?", re.S)
Shape = dict[str, Any]


def named(text: str) -> tuple[str, dict[str, Shape]]:
    """The prefix of all keys, and by pattern: version, type, a hash's fields or what they are named `by`."""
    read = tomllib.loads(text)
    return read.pop("layout"), read


def pattern(name: str) -> str:
    """Of a key without its prefix: job_ID:hook, line*."""
    found = _KEY.fullmatch(name)
    if found is None or not found["record"]:
        return f"{found['name']}{'*' if found['of'] else ''}" if found else name
    return f"{found['record']}ID{found['beside'] or ''}"


def held(client: Any) -> dict[str, Shape]:
    """What a store holds now: types, and fields with those that they hold."""
    keys = sorted(client.scan_iter(f"{PREFIX}*", count=1000))
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.type(key)
    kinds = dict(zip(keys, pipe.execute(), strict=True))
    hashes = [key for key in keys if kinds[key] == "hash"]
    for key in hashes:
        pipe.hgetall(key)
    fields = dict(zip(hashes, pipe.execute(), strict=True))
    shapes: dict[str, Shape] = {}
    for key in keys:
        found = shapes.setdefault(pattern(key.removeprefix(PREFIX)), {"types": set(), "fields": set()})
        found["types"].add(kinds[key])
        found["fields"] |= _fields(fields.get(key, {}))
    return shapes


def _fields(hash: Mapping[str, str]) -> set[str]:
    names = set(hash) - set(JSON)
    for group in set(JSON) & set(hash):
        # What a test has spoilt is no object.
        with suppress(ValueError):
            names |= set(json.loads(hash[group]))
    return names


def add(seen: dict[str, Shape], found: Mapping[str, Shape]) -> None:
    for name, shape in found.items():
        whole = seen.setdefault(name, {"types": set(), "fields": set()})
        for part, values in shape.items():
            whole[part] |= values


def unnamed(seen: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> list[str]:
    """What stores held that the file does not name."""
    lines = []
    for name, found in sorted(seen.items()):
        shape = shapes.get(name)
        if shape is None or shape["type"] not in found["types"]:
            lines.append(f"{name}: {sorted(found['types'])}, {sorted(found['fields'])}")
        elif "by" not in shape and (more := found["fields"] - set(shape.get("fields", ()))):
            lines.append(f"{name}: {sorted(more)}")
    return lines
