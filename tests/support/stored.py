"""The records of jobs and lanes as they are stored, for tests that look at them or spoil them."""

import json
from typing import Any

from shared.store.keys import PREFIX

GROUPS = ("r", "s", "t", "q")
"""Fields of a hash that hold several of a record's as one JSON object."""


def fields_of(client: Any, id: str | None) -> dict[str, str]:
    """All fields of a record, its texts included, as text; empty where there is none."""
    return unpacked(client.hgetall(f"sl9:{id}"))


def unpacked(stored: dict[str, str]) -> dict[str, str]:
    """A hash as it was read; what is no job or lane stays as it is."""
    texts = {name: text for name, text in stored.items() if name not in GROUPS}
    for group in GROUPS:
        for name, value in json.loads(stored.get(group) or "{}").items():
            texts[name] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return texts


def change(client: Any, id: str | None, **fields: Any) -> None:
    """Sets fields of a record; None removes one."""
    stored = client.hgetall(f"sl9:{id}")
    records = {group: json.loads(stored[group] or "{}") for group in GROUPS if group in stored}
    for name, value in fields.items():
        group = next(
            (group for group in ("t", "s") if name in records.get(group, {})), "q" if "q" in stored else "r"
        )
        records[group][name] = value
    for group, record in records.items():
        kept = {name: value for name, value in record.items() if value is not None}
        client.hset(f"sl9:{id}", group, json.dumps(kept, separators=(",", ":")))


def forget_answers(client: Any) -> None:
    """As at the end of `retention.result_s`, and of what webhooks read."""
    for key in client.keys(f"{PREFIX}job_*"):
        id, _, part = key.removeprefix(PREFIX).partition(":")
        if part in ("answer", "asked", "events"):
            client.delete(key)
        elif not part and "kept" in fields_of(client, id):
            change(client, id, kept=1, needed_s=0)
            client.hdel(key, "result", "bare", "origin", "rest")
