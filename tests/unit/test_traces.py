"""Traces that nobody asked for cost nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared import traces
from shared.settings import Settings, SettingsError
from shared.trace_settings import TraceSettings

ROOT = Path(__file__).parents[2]
USE = """
import sys
import fastapi, redis.asyncio

others = set(sys.modules)
import {modules}
from shared import traces
from shared.settings import Settings

traces.open_traces(Settings(), "a-service")
with traces.span("attempt", kind="consumer", carrier="00-ab-cd-01") as span:
    span.tell({{"a": 1}})
    traces.tell({{"a": 1}})
    traces.link("00-ab-cd-01")
    assert (traces.here(), traces.trace_id()) == ("", "")
traces.close_traces()
print(*sorted(name for name in set(sys.modules) - others if name.startswith("opentelemetry")))
"""


@pytest.mark.parametrize("modules", ["worker.app, worker.courier", "api.app"])
def test_a_process_without_traces_imports_nothing_of_them(modules: str) -> None:
    """Beside what FastAPI and redis-py import for themselves."""
    code = USE.format(modules=modules)
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_traces_without_their_packages_stop_the_start_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "shared.otlp", raising=False)
    settings = Settings(traces=TraceSettings(url="http://127.0.0.1:4318/v1/traces"))
    with pytest.raises(SettingsError, match=r"SIGHTLINE_TRACES__URL.*pip install 'sightline\[traces\]'"):
        traces.open_traces(settings, "a-service")
