"""What a record store says of itself at start."""

from typing import Any

import pytest
from redis import Redis

from shared.errors import Unavailable
from shared.store.server import probe

SAID = {"redis_version": "7.2.4", "valkey_version": "9.1.2", "aof_enabled": 1}


def test_a_server_that_still_reads_its_file_is_no_answer_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    # It tells INFO while it refuses all else, and a service that began then broke off at its first command.
    said: dict[str, Any] = SAID | {"loading": 1}
    monkeypatch.setattr(Redis, "info", lambda *_: said)
    with pytest.raises(Unavailable, match="loading"):
        probe("redis://127.0.0.1:1")
    said["loading"] = 0
    assert probe("redis://127.0.0.1:1").version == "9.1.2"
