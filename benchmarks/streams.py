"""Many chat streams at once through OpenAI's Python client; a model's answers, watched or not: 5 minutes.

Ours and a bare Starlette application (`app`) take turns; callers are processes (`... streams turns`). So do
answers of the tiny model that are read as they come (`watched`) and those that are read whole (`whole`).
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import openai
from matplotlib.figure import Figure
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.frame import command, report
from benchmarks.frame.load import post
from benchmarks.frame.services import ClientProcess, Installation, free_port, opened
from benchmarks.frame.statistics import Bound, Ratio, ratio, summary
from benchmarks.frame.usage import Usage
from benchmarks.overhead.services import LOAD_LIMIT_S, TINY_MODEL, UVICORN

STREAMS, WORDS, ROUNDS, CLIENTS = 200, 40, 6, 2
MODEL, STEP_S = "bench/paced", 0.1
"""At this pace each word is an event of its own: our streams gather text for this long at most."""
MODELS = f'[[models]]\nid = "{MODEL}"\nengine = "echo"\nrows = {STREAMS}\noptions = {{ step_s = {STEP_S} }}\n'
CALLERS, TOKENS, PAIRS = (1, 16), 384, 7
"""Pairs of watched and whole turns in each round: two turns may differ by a third."""
DRAWN = replace(TINY_MODEL, rows=max(CALLERS))
GAP_LIMIT_MS, SHARE = 30.0, 0.99
"""Between two pieces, or one step if that is longer; share of the tokens/s of answers read whole."""
_names = count()
SIDES = {"ours": ("redis", "api", "worker"), "bare": ("bare",)}
Turn = dict[str, Any]
Laps = dict[str, list[Turn]]


class StreamServices(Installation):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MODELS + DRAWN.toml())
        self.ports = {side: free_port() for side in SIDES}

    def start(self) -> None:
        self.add(self.records)
        self.worker()
        self.api(self.ports["ours"])
        bare = ("benchmarks.streams:app", "--port", str(self.ports["bare"]), *UVICORN)
        self.run("bare", sys.executable, "-m", "uvicorn", *bare)
        for side, path in (("ours", f"models/{MODEL}/health"), ("bare", "ready")):
            self.wait_until(f"http://127.0.0.1:{self.ports[side]}/{path}")


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    with opened(StreamServices) as services, ExitStack() as stack:
        clients = [stack.enter_context(ClientProcess("benchmarks.streams", "turns")) for _ in range(CLIENTS)]
        laps = _laps(services, clients, arguments.rounds, say)
        services.stop("worker")
        drawn = {callers: _drawn(services, callers, arguments.rounds, say) for callers in CALLERS}
    sides = {side: _figures(some) for side, some in laps.items()}
    figures = {"streams": STREAMS, "words": WORDS, "rounds": arguments.rounds, **sides}
    figures["watched"] = {str(callers): _watched_figures(turns, callers) for callers, turns in drawn.items()}
    ours, bare = ([lap["per_s"] for lap in laps[side]] for side in SIDES)
    ratios = [ratio("events_per_s", "bare_events_per_s", ours, bare, at_least=0.5)]
    ratios += [_share(turns, callers) for callers, turns in drawn.items()]
    bounds = [_gap_bound(callers, row) for callers, row in figures["watched"].items()]
    return report.Findings(figures, _picture(laps), bounds, ratios, str(sides))


def _laps(services: StreamServices, clients: Sequence[ClientProcess], rounds: int, say: command.Say) -> Laps:
    """The sides take turns; the first turn of each is not counted, connections and caches are cold then."""
    usages = {side: Usage([services[name].pid for name in names]) for side, names in SIDES.items()}
    laps: Laps = {side: [] for side in SIDES}
    for number in range(rounds + 1):
        for side, usage in usages.items():
            lap = _lap(clients, services.ports[side], f"{side}-{number}", usage)
            laps[side] += [lap] if number else []
            say(f"round {number}, {side}: {lap['per_s']:,.0f} events/s")
    return laps


def _lap(clients: Sequence[ClientProcess], port: int, name: str, usage: Usage) -> Turn:
    """All streams; `client_share` is the busiest client process's use of a core."""
    before = usage.cpu_s()
    for at, client in enumerate(clients):
        client.send(json.dumps({"port": port, "name": f"{name}-{at}"}))
    turns = [json.loads(client.receive()) for client in clients]
    events = sum(one["events"] for one in turns)
    return {
        "events": events,
        "per_s": events / (max(one["ended"] for one in turns) - min(one["began"] for one in turns)),
        "first_ms": [ms for one in turns for ms in one["first_ms"]],
        "client_share": max(one["cpu_s"] / (one["ended"] - one["began"]) for one in turns),
        "cpu_s": usage.cpu_s() - before,
    }


def _drawn(services: StreamServices, callers: int, rounds: int, say: command.Say) -> Laps:
    """Answers of the tiny model, all of one length; watched and whole ones take turns."""
    if DRAWN.name not in services.processes:
        services.worker(DRAWN.id, DRAWN.name)
        ready = f"http://127.0.0.1:{services.ports['ours']}/models/{DRAWN.id}/health"
        services.wait_until(ready, LOAD_LIMIT_S)
    laps: Laps = {"whole": [], "watched": []}
    for number in range(rounds * PAIRS + 1):
        # Each goes first as often as the other, or a machine that slows down would favour one.
        for side in sorted(laps, reverse=number % 2 == 0):
            turn = asyncio.run(_draw(services.ports["ours"], callers, stream=side == "watched"))
            laps[side] += [turn] if number else []
    say(f"{callers} callers: {_watched_figures(laps, callers)}")
    return laps


def _watched_figures(laps: Laps, callers: int) -> dict[str, Any]:
    """`step_ms` is the time of a token of one answer where nobody watches."""
    per_s = {side: median(turn["per_s"] for turn in some) for side, some in laps.items()}
    return {
        **{f"{side}_tokens_per_s": round(value, 1) for side, value in per_s.items()},
        "step_ms": round(callers / per_s["whole"] * 1000, 3),
        "gap_ms": summary([ms for turn in laps["watched"] for ms in turn["gaps_ms"]]),
    }


def _gap_bound(callers: str, row: dict[str, Any]) -> Bound:
    limit = max(row["step_ms"], GAP_LIMIT_MS)
    return Bound(f"gap of a watched answer p50, callers: {callers}", row["gap_ms"]["p50"], limit, "ms")


def _share(laps: Laps, callers: int) -> Ratio:
    watched, whole = ([turn["per_s"] for turn in laps[side]] for side in ("watched", "whole"))
    names = f"watched_tokens_per_s of {callers}", "whole_tokens_per_s"
    return ratio(*names, watched, whole, at_least=SHARE)


async def _draw(port: int, callers: int, *, stream: bool) -> Turn:
    began = time.monotonic()
    moments = await asyncio.gather(*(_answer(port, stream=stream) for _ in range(callers)))
    took_s = time.monotonic() - began
    gaps_ms = [(b - a) * 1000 for each in moments for a, b in pairwise(each)]
    return {"per_s": callers * TOKENS / took_s, "gaps_ms": gaps_ms}


async def _answer(port: int, *, stream: bool) -> list[float]:
    """When each event with text came; none of an answer that is read whole. Raises ValueError for one that is
    not as long as asked for.
    """
    question: Any = {"messages": [{"role": "user", "content": f"What is {next(_names)}?"}], "stream": stream}
    question |= {"stream_options": {"include_usage": True}} if stream else {}
    question |= {"model": DRAWN.id, "max_tokens": TOKENS, "ignore_eos": True, "temperature": 2}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    message = post("/v1/chat/completions", json.dumps(question).encode())
    writer.write(message.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
    moments, is_whole = [], False
    async for line in reader:
        is_whole = is_whole or b'"completion_tokens":%d' % TOKENS in line
        if b'"content":"' in line and b'"content":""' not in line and stream:
            moments.append(time.monotonic())
    writer.close()
    if not is_whole:
        raise ValueError("an answer is not as long as it was to be")
    return moments


def _figures(laps: Sequence[Turn]) -> dict[str, Any]:
    return {
        "events_per_s": round(mean(lap["per_s"] for lap in laps), 1),
        "server_cpu_us_per_event": round(mean(1e6 * lap["cpu_s"] / lap["events"] for lap in laps), 1),
        "first_event_ms": summary([ms for lap in laps for ms in lap["first_ms"]]),
        "client_share": round(max(lap["client_share"] for lap in laps), 2),
    }


def _picture(laps: Laps) -> Figure:
    figure, (left, right) = report.figure(2)
    for side, some in laps.items():
        left.plot(range(1, len(some) + 1), [lap["per_s"] for lap in some], "o-", label=side)
        report.shares(right, [ms for lap in some for ms in lap["first_ms"]], side)
    left.set_ylim(bottom=0)
    report.label(left, "round", f"events/s of {STREAMS} streams")
    report.label(right, "from asking until the first text, ms", "share of the streams")
    return figure


async def _stream(client: openai.AsyncOpenAI, name: str) -> tuple[int, float]:
    """Chunks, and ms until the first with text in it. No other question is like it: none is in the cache."""
    began, events, first = time.monotonic(), 0, 0.0
    question = " ".join([name, *(f"word{number}" for number in range(1, WORDS))])
    messages: Any = [{"role": "user", "content": question}]
    async for chunk in await client.chat.completions.create(model=MODEL, messages=messages, stream=True):
        events += 1
        if not first and chunk.choices and chunk.choices[0].delta.content:
            first = time.monotonic() - began
    return events, round(first * 1000, 3)


async def _turn(port: int, name: str) -> Turn:
    """Of one client process; moments on the monotonic clock, one for all processes of a machine."""
    began, cpu = time.monotonic(), time.process_time()
    url = f"http://127.0.0.1:{port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        names = (f"{name}-{number}" for number in range(STREAMS // CLIENTS))
        rows = await asyncio.gather(*(_stream(client, one) for one in names))
    events, first_ms = map(list, zip(*rows, strict=True))
    used = {"began": began, "ended": time.monotonic(), "cpu_s": time.process_time() - cpu}
    return {**used, "events": sum(events), "first_ms": first_ms}


async def chat(request: Request) -> Response:
    """The baseline: as many events as ours sends, at the same pace."""
    words = (await request.json())["messages"][-1]["content"].split()
    return StreamingResponse(_events(words), media_type="text/event-stream")


async def _events(words: Sequence[str]) -> AsyncIterator[bytes]:
    yield _chunk({"role": "assistant", "content": ""})
    for word in words:
        await asyncio.sleep(STEP_S)
        yield _chunk({"content": f" {word}"})
    yield _chunk({"content": ""}, finish="stop") + b"data: [DONE]\n\n"


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-bare", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    chunk = {**head, "system_fingerprint": None, "choices": [choice]}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


async def ready(_: Request) -> Response:
    # What only the other processes import costs this one no collection.
    gc.freeze()
    return Response()


app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"]), Route("/ready", ready)])

if __name__ == "__main__":
    if sys.argv[1:] != ["turns"]:
        command.main("streams", __doc__, measure, rounds=(ROUNDS, "turns of each side"))
    for line in sys.stdin:
        print(json.dumps(asyncio.run(_turn(**json.loads(line)))), flush=True)
