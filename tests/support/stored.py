"""The records of jobs and runs as they are stored, for tests that look at them or spoil them."""

import json
from typing import Any


def fields_of(client: Any, id: str | None) -> dict[str, str]:
    """All fields of a record, its texts included, as text; empty where there is none."""
    return unpacked(client.hgetall(f"sl3:{id}"))


def unpacked(stored: dict[str, str]) -> dict[str, str]:
    """A hash as it was read; what is no job or run stays as it is."""
    if "r" not in stored:
        return stored
    fields = json.loads(stored["r"]) | json.loads(stored.get("t", "{}"))
    texts = {name: text for name, text in stored.items() if name not in ("r", "t")}
    return texts | {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()
    }


def change(client: Any, id: str | None, **fields: Any) -> None:
    """Sets fields of a record; None removes one."""
    stored = client.hgetall(f"sl3:{id}")
    progress = json.loads(stored.get("t", "{}"))
    for name, value in fields.items():
        group = "t" if name in progress else "r"
        record = json.loads(stored[group]) | {name: value}
        stored[group] = json.dumps({name: value for name, value in record.items() if value is not None})
        client.hset(f"sl3:{id}", group, stored[group])
