"""The record store: the only package that knows a Redis key.

Whose work is claimed next? `functions/fair_queue.lua` (`FairQueue.next`).
What becomes of work whose worker vanished? `functions/upkeep.lua` (`rescue`).
When is the store too full for new work? `headroom.py` (`check`).
How does Python call a function of the library? `script.py` (`ScriptCall`).
"""

import sys

SDK = "opentelemetry.sdk"
# redis-py imports OpenTelemetry's SDK wherever it is installed, for metrics that nobody asked for: 30 ms and
# 3 MB of every process. While the SDK is hidden redis-py does without.
if SDK not in sys.modules:
    sys.modules[SDK] = None  # type: ignore[assignment]
    try:
        import redis  # noqa: F401
    finally:
        del sys.modules[SDK]
