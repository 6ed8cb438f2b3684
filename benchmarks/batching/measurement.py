"""Measure one server with one model: a closed loop for each number of clients, large pages, repeated
questions and pictures, a chat; and what our whole service costs over vLLM's own server.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.batching import servers
from benchmarks.batching.driver import Answer, Drive, WrongAnswerError, drive, point
from benchmarks.batching.plan import (
    BUSY_S,
    CORES,
    CPU,
    ONE_BY_ONE,
    OURS,
    PAGES,
    QUESTIONS,
    REPEATS,
    ROWS,
    VLLM,
    Part,
    Results,
    Size,
)
from benchmarks.batching.questions import SUBJECTS, Question, page_question
from benchmarks.frame import report
from benchmarks.frame.command import Say
from benchmarks.frame.services import ClientProcess, NotStartedError
from sightline.serving.heap import heap

FIRST = 4
"""Questions asked to warm up; their answers are compared between servers."""
SHORT = 8
"""Tokens of an answer where the time to its first text is what counts."""
NUMBERS = {
    "first": 0,
    "points": 1_000,
    "pictures": 100_000,
    "chat": 200_000,
    "pages": 300_000,
    "repeats": 400_000,
    "overhead": 500_000,
}
"""Where each measurement's questions begin, so that none is asked twice by chance: nothing is answered from a
cache but what is repeated on purpose."""
PAGE_TOKENS = 16
"""Of an answer about a page: some fields read off it."""
EACH, TURN_EACH, REPEATED = 3, 5, 5
"""Questions for each client; of a turn's repeated ones more, so that what need not be computed is one round
of five. Every fifth has been asked before."""
LONGEST_S = 600.0


class Measuring:
    """One part, while its server serves."""

    def __init__(self, part: Part, size: Size, serving: servers.Serving) -> None:
        self._part, self._size, self._serving = part, size, serving
        self._subject = SUBJECTS[part.model]
        self._longest = min(self._subject.longest, size.longest)
        self._exactly = None if self._subject.ends else self._longest

    def all(self, say: Say) -> dict[str, Any]:
        """Every figure of the part. Raises WrongAnswerError."""
        figures: dict[str, Any] = {"answers": self._first(), "points": {}}
        for clients in self._size.clients_of(self._part):
            figures["points"][str(clients)] = row = self._point(clients)
            say(f"{self._part}: {clients} clients, {row['tokens_per_s']} tokens/s")
        if self._part.cores == 1:
            figures["pictures"] = {
                "different": self._pictures(NUMBERS["pictures"], same=False),
                "same": self._pictures(NUMBERS["pictures"] + self._size.at_once, same=True),
            }
            figures["chat_ttft_ms"] = self._chats()
        elif not self._subject.ends and self._part.system not in ONE_BY_ONE:
            for name, ask in ((PAGES, self.pages), (REPEATS, self.repeats)):
                first = NUMBERS[name]
                figures[name] = ask(range(first, first + EACH * self._size.at_once))
                say(f"{self._part}: {name}, {figures[name]['requests_per_s']} requests/s")
        return figures

    def point(self, numbers: Sequence[int], clients: int) -> dict[str, Any]:
        """Answers to the questions of these numbers. Raises WrongAnswerError."""
        questions = self._serving.wire.ask(self._subject, numbers, self._longest)
        busy_s = self._busy_s()
        driven, cpu_s = self._drive(questions, clients, self._size.seconds_of(self._part))
        self._check(driven.answers, self._exactly)
        return self._figures(driven, cpu_s, busy_s)

    def _point(self, clients: int) -> dict[str, Any]:
        first = NUMBERS["points"] * clients
        return self.point(range(first, first + self._subject.requests(clients)), clients)

    def pages(self, numbers: Sequence[int], clients: int = 0) -> dict[str, Any]:
        """Questions about large pages, each about its own."""
        wire = self._serving.wire
        pages = [wire.post([page_question(number).message], PAGE_TOKENS) for number in numbers]
        return self._requests(pages, PAGE_TOKENS, clients=clients)

    def repeats(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Questions of which every fifth had been answered before."""
        wire, known = self._serving.wire, numbers[: len(numbers) // REPEATED]
        before, _ = self._drive(wire.ask(self._subject, known, self._longest), len(known), LONGEST_S)
        self._check(before.answers, self._longest)
        earlier, fresh = iter(known), iter(numbers[len(known) :])
        order = [next(earlier if at % REPEATED == REPEATED - 1 else fresh) for at in range(len(numbers))]
        cached = len(known) if self._part.system in OURS else 0
        return self._requests([*wire.ask(self._subject, order, self._longest)], self._longest, cached)

    def _requests(
        self, questions: Sequence[bytes], tokens: int, cached: int = 0, clients: int = 0
    ) -> dict[str, Any]:
        """All answered, each with so many tokens, and so many of them `cached`."""
        busy_s = self._busy_s()
        driven, cpu_s = self._drive(questions, clients or self._size.at_once, LONGEST_S, cached=cached)
        self._check(driven.answers, tokens)
        figures = self._figures(driven, cpu_s, busy_s)
        return {"requests_per_s": round(len(questions) / driven.wall_s, 2)} | figures

    def _figures(self, driven: Drive, cpu_s: float, busy_s: float) -> dict[str, Any]:
        """Those of a point; `waits`, the share of time in which a clock had nothing to do since `busy_s`."""
        figures = point(driven, cpu_s=cpu_s, rss_mb=self._serving.usage.rss_mb())
        worked = (self._busy_s() - busy_s) / driven.wall_s
        return figures | ({"waits": round(1 - worked, 3)} if self._serving.busy_file else {})

    def _busy_s(self) -> float:
        file = self._serving.busy_file
        return float(BUSY_S.unpack(file.read_bytes())[0]) if file else 0.0

    def _first(self) -> list[str]:
        """Digests of the answers to the first questions, asked at once."""
        questions = self._serving.wire.ask(self._subject, range(FIRST), SHORT)
        driven, _ = self._drive(questions, FIRST, LONGEST_S)
        return [hashlib.sha256(one.text.encode()).hexdigest()[:8] for one in driven.answers]

    def _pictures(self, first: int, *, same: bool) -> dict[str, Any]:
        """Questions asked at once: each about a picture of its own, or all about one."""
        questions = [self._subject.ask(number) for number in range(first, first + self._size.at_once)]
        if same:
            picture = questions[0].picture
            questions = [Question(picture, f"{n} {one.text}") for n, one in enumerate(questions)]
        messages = [self._serving.wire.post([one.message], SHORT) for one in questions]
        driven, cpu_s = self._drive(messages, len(messages), LONGEST_S)
        return {"wall_s": round(driven.wall_s, 2), "cpu_s": round(cpu_s, 2)}

    def _chats(self) -> list[float]:
        """Median time to the first text of each turn."""
        numbers = count(NUMBERS["chat"])
        chats = [
            self._chat([next(numbers) for _ in range(self._size.turns)]) for _ in range(self._size.chats)
        ]
        return [round(median(turn) * 1e3, 1) for turn in zip(*chats, strict=True)]

    def _chat(self, numbers: Sequence[int]) -> list[float]:
        """One picture, and questions that each follow on the answers so far."""
        messages: list[dict[str, Any]] = []
        waits = []
        for number in numbers:
            question = self._subject.ask(number)
            turn = {"role": "user", "content": question.text} if messages else question.message
            messages.append(turn)
            driven, _ = self._drive([self._serving.wire.post(messages, SHORT)], 1, LONGEST_S)
            messages.append({"role": "assistant", "content": driven.answers[0].text})
            waits.append(driven.answers[0].wait_s)
        return waits

    def _drive(self, questions: Any, clients: int, seconds: float, *, cached: int = 0) -> tuple[Drive, float]:
        """Drive the server; also returns the processor time that it took."""
        before = self._serving.usage.cpu_s()
        driven = drive(self._serving.port, questions, clients=clients, seconds=seconds, cached=cached)
        cpu_s = self._serving.usage.cpu_s() - before
        self._serving.usage.wait_for_rest()
        return driven, cpu_s

    def _check(self, answers: Sequence[Answer], tokens: int | None) -> None:
        """Every answer must have been counted, and be as long as it has to be. Raises WrongAnswerError."""
        for one in answers:
            if one.ended is not None and (not one.tokens or one.tokens != (tokens or one.tokens)):
                raise WrongAnswerError(f"{one.tokens} tokens: {json.dumps(one.text[:200])}")


class Run:
    """One call of the benchmark: part after part, each saved as soon as it is measured.

    `failed` are the parts that could not be measured; other parts keep their figures.
    """

    def __init__(self, results: Results, size: Size, say: Say) -> None:
        self.failed: list[str] = []
        self._results, self._size, self._say = results, size, say

    def part(self, part: Part, vllm: Path) -> None:
        """`vllm` is the Python that vLLM is installed for."""
        self._say(f"{part}: starts")
        about = _about()
        with self._may_fail(str(part)), servers.serving(part, vllm) as serving:
            figures = Measuring(part, self._size, serving).all(self._say)
            self._results.add(part, about | {"versions": serving.versions} | figures)
            self._save()

    def overhead(self, model: str, dtype: str, vllm: Path, device: str = CPU) -> None:
        """vLLM's own server and our service with its engine, both started, asked by turns."""
        about, laps = _about(), self._size.rounds
        with self._may_fail(f"{model} {dtype} {device} overhead"), ExitStack() as stack:
            sides = {}
            for system in VLLM:
                part = Part(system, model, dtype, max(CORES), device)
                serving = stack.enter_context(servers.serving(part, vllm))
                sides[system] = Measuring(part, self._size, serving)
            numbers = count(NUMBERS["overhead"])
            for turn in _turns(self._size, part):
                points = _by_turns(sides, turn, numbers, laps)
                case: dict[str, Any] = {"model": model, "dtype": dtype, "device": device}
                case |= {"asked": turn.asked, "clients": turn.clients}
                self._results.add_overhead(case | about | points)
                self._say(f"overhead, {json.dumps(case | points)}")
                self._save()

    def decoding(self, model: str, dtype: str) -> None:
        """Measures in a process of its own, so that its memory is freed."""
        self._say(f"{model} {dtype}: steps of the engine and of generate()")
        about, rows, tokens = _about(), self._size.decode_rows, self._size.decode_tokens
        servers.make_model(SUBJECTS[model])
        env = {"OMP_NUM_THREADS": "1", **heap(os.environ)}
        arguments = (model, dtype, str(rows), str(tokens))
        with (
            self._may_fail(f"{model} {dtype} decoding"),
            ClientProcess("benchmarks.batching.decoding", *arguments, env=env) as process,
        ):
            figures = json.loads(process.receive())
            self._results.add_decoding({"model": model, "dtype": dtype} | about | figures)
            self._save()

    @contextmanager
    def _may_fail(self, name: str) -> Iterator[None]:
        try:
            yield
        except (NotStartedError, WrongAnswerError) as error:
            self._say(f"{name}: left out: {error}")
            self.failed.append(name)

    def _save(self) -> None:
        self._results.save(
            date=report.now(),
            versions=report.versions(),
            seconds={"one_by_one": self._size.one_by_one_s, "together": self._size.together_s},
            rows=ROWS,
            limits=[bound.row() for bound in self._results.bounds()],
        )


@dataclass(frozen=True)
class Turn:
    """What each side is asked in a lap: so many new questions of `clients` callers, measured by `measure`."""

    asked: str
    clients: int
    questions: int
    measure: Callable[[Measuring, Sequence[int]], dict[str, Any]]


def _turns(size: Size, part: Part) -> Iterator[Turn]:
    for clients in size.clients_of(part):
        ask = partial(Measuring.point, clients=clients)
        yield Turn(QUESTIONS, clients, SUBJECTS[part.model].requests(clients), ask)
    # As many callers as keep a fast device busy.
    pages = partial(Measuring.pages, clients=max(size.clients))
    yield Turn(PAGES, max(size.clients), EACH * max(size.clients), pages)
    yield Turn(REPEATS, size.at_once, TURN_EACH * size.at_once, Measuring.repeats)


def _by_turns(sides: dict[str, Measuring], turn: Turn, numbers: Iterator[int], laps: int) -> dict[str, Any]:
    """Speeds and waits of both sides, each lap about the same new questions; the first lap is not counted."""
    points: dict[str, list[dict[str, Any]]] = {system: [] for system in sides}
    for lap in range(laps + 1):
        questions = [next(numbers) for _ in range(turn.questions)]
        for system in sorted(sides, reverse=lap % 2 == 0):
            measured = turn.measure(sides[system], questions)
            points[system] += [measured] if lap else []
    names = ("tokens_per_s", "ttft_p50_ms", "ttft_p99_ms", "waits")
    return {
        system: {name: [one[name] for one in some] for name in names if name in some[0]}
        for system, some in points.items()
    }


def _about() -> dict[str, Any]:
    return {"date": report.now(), "load": report.load()}
