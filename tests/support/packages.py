"""Packages that are not installed, as far as the code under test can tell."""

import sys

import pytest

from shared.settings import PREFIX


def without_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces are on, and the packages of the extra `traces` are not there."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setenv(f"{PREFIX}TRACES__URL", "http://127.0.0.1:4318/v1/traces")
