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
PASSED = PRINTS.format({"test": "t", "group": "llava", "outcome": "passed", "why": ""})
FAILED = PRINTS.format({"test": "u", "group": "llava", "outcome": "failed", "why": "AssertionError"})
SCRIPTS = {
    "models": "",
    "engine_tests": PASSED,
    "families": f"{PASSED}; {FAILED}",
    "callers": "import signal; signal.pause()",
    "steps": "raise SystemExit(3)",
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
    assert "no CUDA device here. `--device cpu --quick`" in capsys.readouterr().err


def test_a_part_that_fails_or_takes_too_long_costs_no_other_part_s_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[str]()

    def start(name: str, _: Any) -> Any:
        begun.append(name)
        script = SCRIPTS.get(name, PRINTS.format({"way": name}))
        return subprocess.Popen(
            (sys.executable, "-c", script), stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    (tmp_path / "gpu.json").write_text(json.dumps(gpu.about("cpu") | {"steps": "of old", "other": "kept"}))
    monkeypatch.setattr(gpu, "start", start)
    monkeypatch.setattr(gpu, "PARTS", gpu.PARTS | {"engine_tests": 30, "families": 30, "callers": -60})
    assert run(monkeypatch, tmp_path, "--device", "cpu") == 1
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert begun == ["models", *gpu.PARTS]
    assert (found["engine_tests"]["groups"], found["engine_tests"]["rows"]) == ({"llava": {"passed": 1}}, [])
    assert found["other"] == "kept"
    assert found["families"]["groups"] == {"llava": {"passed": 1, "failed": 1}}
    assert [row["test"] for row in found["families"]["rows"]] == ["u"]
    assert found["callers"]["rows"] == [{"failed": "its time is over"}]
    assert found["steps"]["rows"] == [{"failed": "exit code 3"}]
    assert found["waiting_as_served"]["rows"] == [{"way": "waiting_as_served"}]
