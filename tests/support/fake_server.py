"""A record store of fakeredis on a loopback port, for the quick level.

It speaks the same wire and runs the same library of functions. It has no INFO, so the library that
it gets reads a constant instead.
"""

import threading
from typing import Any

import pytest
from fakeredis import TcpFakeServer
from redis import Redis

from shared.store.script import LIBRARY

INFO = "call('INFO', 'memory')"
ROOMY = "'used_memory:1000000 maxmemory:0 maxmemory_policy:noeviction'"


class FakeServer:
    """As `RedisServer`. A test that ends, fills or stops its server is skipped."""

    def __init__(self) -> None:
        assert INFO in LIBRARY.code or ROOMY in LIBRARY.code
        LIBRARY.code = LIBRARY.code.replace(INFO, ROOMY)
        self._server: Any = TcpFakeServer(("127.0.0.1", 0), server_type="valkey", server_version=(8, 1))
        self._server.daemon_threads = True
        # Each reply of a pipeline is a packet: with Nagle's algorithm the next one waits 40 ms.
        handler: Any = self._server.RequestHandlerClass
        handler.disable_nagle_algorithm = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._flusher = Redis(port=self.port)

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def empty(self) -> None:
        self._flusher.flushall()

    def __getattr__(self, name: str) -> Any:
        pytest.skip(f"fakeredis has no {name}: `make test` runs this test on a real server")

    def stop(self) -> None:
        self._flusher.close()
        self._server.shutdown()
        self._server.server_close()
