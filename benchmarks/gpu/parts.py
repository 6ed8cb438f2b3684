"""The parts of the benchmark, each in a process: `python -m benchmarks.gpu.parts NAME --device DEVICE`.

Each prints its findings as lines of JSON as it goes, so that one that is cut off has given the others.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, LlamaConfig, StaticCache

from benchmarks.batching import servers
from benchmarks.batching.decoding import measure
from benchmarks.batching.driver import WrongAnswerError, drive, point
from benchmarks.batching.plan import Part
from benchmarks.batching.questions import SUBJECTS
from benchmarks.frame import command
from benchmarks.frame.services import ROOT, NotStartedError
from benchmarks.gpu import waiting
from benchmarks.gpu.device_load import DeviceLoad
from shared.cgroup import processors
from tests.support.families import FAMILIES
from worker.engines.continuous import verify

Options = argparse.Namespace
Row = dict[str, Any]
ENGINES = "tests/engines"
MOST_PROCESSES = 14
"""Each has a context of its own on the device."""
WARM_UP, SECONDS, ASKED = 4, 8.0, 3
"""Questions before those that count; a crowd's time; questions of each of its callers."""
LENGTH, WARM, STEPS = 1024, 3, 64
"""Columns of a static cache, which holds a token of each step; steps before those that count."""
LARGER: dict[str, Any] = {
    "vocab_size": 151_936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
"""The language model of a vision-language model of four billion parameters."""


class Outcomes:
    """A plugin of pytest: reports each test's end at once."""

    def __init__(self, group: Callable[[str], str]) -> None:
        self._group, self._out = group, sys.stdout

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or not report.passed:
            self._print(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._print(report)

    def _print(self, report: Any) -> None:
        row = {"test": report.nodeid, "group": self._group(report.nodeid), "outcome": report.outcome}
        print(json.dumps(row | {"why": _why(report)}), file=self._out, flush=True)


def _why(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    # The results are committed, and no path of the machine with them.
    return str(crash.message if crash else report.longrepr or "").replace(f"{ROOT}/", "")[:500]


def run_tests(files: list[str], group: Callable[[str], str], options: Options) -> None:
    """Warnings of another torch are no failures here."""
    os.environ |= {"TEST_DEVICE": options.device, "OMP_NUM_THREADS": "1"}
    count = min(MOST_PROCESSES, processors())
    arguments = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "-n", str(count), "--dist", "worksteal"]
    outcomes = Outcomes(group)
    with redirect_stdout(sys.stderr):
        pytest.main([*arguments, "--continue-on-collection-errors", *files], plugins=[outcomes])


def engine_tests(options: Options) -> None:
    quick = [f"{ENGINES}/test_transcript.py"]
    files = sorted(str(file.relative_to(ROOT)) for file in (ROOT / ENGINES).rglob("test_*.py"))
    left_out = ("test_families", *(() if find_spec("av") else ("test_videos",)))
    own = [file for file in files if not Path(file).name.startswith(left_out)]
    run_tests(quick if options.quick else own, lambda test: Path(test.partition("::")[0]).stem, options)


def families(options: Options) -> None:
    """Beside `generate()`, alone, in a crowd, and with what is reused; by family."""
    names = sorted((family.name for family in FAMILIES), key=len, reverse=True)
    quick = [f"{ENGINES}/test_families.py", "-k", "greedy and llava-text"]
    files = [f"{ENGINES}/test_families{kind}.py" for kind in ("", "_crowd")]
    run_tests(
        quick if options.quick else files,
        lambda test: next((name for name in names if name in test.partition("[")[2]), "none"),
        options,
    )


def callers(options: Options) -> Iterator[Row]:
    model, dtype, crowds = ("tiny", "float32", (1,)) if options.quick else ("mid", "bfloat16", (1, 16, 64))
    for system in ("continuous", "serve", *(["vllm"] if options.vllm else [])):
        part = Part(system, model, dtype, 1, options.device)
        about = {"system": system, "model": model, "dtype": dtype}
        try:
            with servers.serving(part, options.vllm) as serving:
                drive(serving.port, _questions(serving, part, 0, WARM_UP), clients=WARM_UP, seconds=SECONDS)
                for clients in crowds:
                    yield about | {"versions": serving.versions} | _crowd(serving, part, clients)
        except (NotStartedError, WrongAnswerError) as error:
            yield about | {"failed": str(error)[-1500:]}


def _crowd(serving: servers.Serving, part: Part, clients: int) -> Row:
    before = serving.usage.cpu_s()
    questions = _questions(serving, part, 1000 * clients, ASKED * max(clients, 2))
    with DeviceLoad(part.device) as load:
        driven = drive(serving.port, questions, clients=clients, seconds=SECONDS)
    found = point(driven, cpu_s=serving.usage.cpu_s() - before, rss_mb=serving.usage.rss_mb())
    serving.usage.wait_for_rest()
    return found | {"device_busy": load.share}


def _questions(serving: servers.Serving, part: Part, first: int, count: int) -> Iterator[bytes]:
    subject = SUBJECTS[part.model]
    return serving.wire.ask(subject, range(first, first + count), subject.longest)


def steps(options: Options) -> Iterator[Row]:
    """The engine's step beside that of `generate()`, then plain steps over a static cache."""
    model, dtype, crowds = ("tiny", "float32", (2,)) if options.quick else ("mid", "bfloat16", (1, 16, 64))
    servers.make_model(SUBJECTS[model])
    for rows in crowds:
        yield {"network": model, **measure(SUBJECTS[model], dtype, rows, 96, options.device)}
    with patch.object(verify, "capturable", lambda _: False):
        call_by_call = measure(SUBJECTS[model], dtype, rows, 96, options.device)
    yield {"network": model, "captured": False, **call_by_call}
    for name, network in _networks(model, dtype, options.device):
        for count in (1, 2) if options.quick else (1, 16, 64):
            yield {"network": name, "rows": count, **static_step(network.eval(), count)}


def _networks(model: str, dtype: str, device: str) -> Iterator[tuple[str, Any]]:
    plain: Any = AutoModelForImageTextToText.from_pretrained(SUBJECTS[model].folder, dtype=dtype)
    yield model, plain.to(device)
    if device != "cpu":
        make: Any = AutoModelForCausalLM.from_config
        with torch.device(device):
            larger = make(LlamaConfig(**LARGER), dtype=torch.bfloat16)
        yield "4B", larger


@torch.inference_mode()
def static_step(network: Any, rows: int) -> Row:
    """ms of a decoding step that is queued call by call, and of the same as one captured graph."""
    shape, place = (rows, 1), {"device": network.device}
    step = partial(
        network,
        input_ids=torch.ones(shape, dtype=torch.long, **place),
        position_ids=torch.ones(shape, dtype=torch.long, **place),
        attention_mask=torch.ones((*shape, 1, LENGTH), dtype=torch.bool, **place),
        past_key_values=StaticCache(network.config, LENGTH),
    )
    eager = _ms(step)
    if network.device.type != "cuda":
        return {"eager_ms": eager, "graph_ms": None, "why": "not measured: no CUDA device"}
    # The calls before have made the cache, and all else that a graph may not make.
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return {"eager_ms": eager, "graph_ms": _ms(graph.replay)}


def _ms(call: Callable[[], Any]) -> float:
    """Of one call, in a row of many."""
    for count in (WARM, STEPS):
        began = time.perf_counter()
        for _ in range(count):
            call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return round((time.perf_counter() - began) / STEPS * 1e3, 3)


def models(options: Options) -> None:
    """Makes those of the other parts, which takes a minute where they are not there yet."""
    if not options.quick:
        servers.make_model(SUBJECTS["mid"])
    waiting.make_model(quick=options.quick)


PARTS: dict[str, Callable[[Options], Iterator[Row] | None]] = {
    "models": models,
    "engine_tests": engine_tests,
    "families": families,
    "callers": callers,
    "steps": steps,
    **{f"waiting_{way}": partial(waiting.measure, way) for way in waiting.WAYS},
}


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--device", default="cuda", help="cpu tries the command itself (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="a little of each part, with tiny models")
    parser.add_argument("--vllm", type=Path, metavar="PYTHON", help="of an environment that has vLLM")
    return parser


if __name__ == "__main__":
    command.end_on_sigterm()
    options = arguments(argparse.ArgumentParser())
    options.add_argument("part", choices=PARTS)
    values = options.parse_args()
    for row in PARTS[values.part](values) or ():
        print(json.dumps(row), flush=True)
    sys.stdout.flush()
    # A worker's threads wait for nudges.
    os._exit(0)
