"""Traces that nobody asked for cost nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import SettingsError, load_settings
from shared.telemetry import traces
from tests.support.packages import without_traces

ROOT = Path(__file__).parents[3]
USE = """
import sys
import worker.app, worker.courier, api.app
from opentelemetry.trace import SpanKind
from shared.telemetry import traces
from shared.settings import Settings

traces.open_traces(Settings(), "a-service")
with traces.span("attempt", kind=SpanKind.CONSUMER, carrier="00-ab-cd-01") as span:
    span.set_attributes({"a": 1})
    traces.set_attributes({"a": 1})
    traces.link("00-ab-cd-01")
    assert (traces.here(), traces.trace_id()) == ("", "")
traces.close_traces()
theirs = ("opentelemetry.sdk", "opentelemetry.exporter")
print(*sorted(name for name in sys.modules if name.startswith(theirs)))
"""
BESIEGED = """
import socket
from opentelemetry import trace
from shared.telemetry import traces
from shared.telemetry.traces import MOST_STATE, MOST_TEXT
from shared.settings import Settings
from shared.settings import TraceSettings

# It takes connections and never answers.
silent = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
traces.open_traces(Settings(traces=TraceSettings(url=url)), "a-service")
state = ",".join(f"k{n}=" + "v" * 200 for n in range(30))
carrier = "00-" + "a" * 32 + "-" + "b" * 16 + "-01 " + state
with traces.span("attempt", {"url.path": "x" * 60_000}, carrier=carrier):
    assert len(trace.get_current_span().attributes["url.path"]) == MOST_TEXT
    parent, _, kept = traces.here().partition(" ")
    assert parent.startswith("00-" + "a" * 32)
    assert state.startswith(kept + ",") and 0 < len(kept) <= MOST_STATE
traces.close_traces()
"""


def run(code: str, **env: str) -> str:
    argv = [sys.executable, "-c", code]
    done = subprocess.run(
        argv, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_processes_without_traces_import_nothing_of_them() -> None:
    """Beside their mere interface, which FastAPI imports; redis-py would take in all that is installed."""
    assert run(USE) == ""


def test_traces_without_packages_stop_the_start_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without_traces(monkeypatch)
    settings = load_settings()
    with pytest.raises(SettingsError, match=r"SIGHTLINE_TRACES__URL.*pip install .*-e '\.\[traces\]'"):
        traces.open_traces(settings, "a-service")


def test_what_a_caller_chose_is_cut_and_a_collector_that_hangs_holds_up_no_stop() -> None:
    run(BESIEGED, OTEL_EXPORTER_OTLP_TIMEOUT="600")
