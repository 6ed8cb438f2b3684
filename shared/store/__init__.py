"""The record store: the only package that knows a Redis key."""

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
