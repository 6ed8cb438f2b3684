"""The benchmark for a GPU gives what it found whatever happens to it: the machine may never come back."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.frame import command
from benchmarks.gpu import __main__ as gpu

PRINTS = "import json; print(json.dumps({}), flush=True)"
PASSED = PRINTS.format({"test": "t", "outcome": "passed", "why": ""})
FAILURE = {"test": "u", "outcome": "failed", "why": "AssertionError"}
FAILED = PRINTS.format(FAILURE)
SCRIPTS = {
    "tests": f"{PASSED}; {FAILED}; raise SystemExit(3)",
    "callers": "import signal; signal.pause()",
}


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> int:
    monkeypatch.setattr(command, "end_on_sigterm", lambda: None)
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(folder), *options])
    return gpu.main()


def test_without_a_gpu_it_says_so_and_how_to_try_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(monkeypatch, tmp_path) == 2
    assert "no CUDA device here. `--device cpu --quick 1`" in capsys.readouterr().err


def test_a_failing_part_costs_no_other_part_s_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen

    def start(argv: list[str], **how: Any) -> Any:
        part = argv[argv.index("--part") + 1] if "--part" in argv else ""
        return popen((sys.executable, "-c", SCRIPTS[part]) if part else argv, **how)

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(gpu, "LIMITS_S", gpu.LIMITS_S | {"callers": 1})
    assert run(monkeypatch, tmp_path, "--device", "cpu") == 1
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert (found["tests"]["passed"], found["tests"]["failed"]) == (1, 1)
    assert found["tests"]["rows"] == [FAILURE, {"failed": "exit code 3"}]
    assert found["callers"] == [{"failed": "its time is over"}]
