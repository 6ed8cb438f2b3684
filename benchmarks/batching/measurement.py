"""Measure one server with one model: a closed loop for each number of clients, repeated pictures, a chat."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.batching import servers
from benchmarks.batching.driver import Answer, Drive, WrongAnswerError, drive, point
from benchmarks.batching.plan import ROWS, Part, Results, Size
from benchmarks.batching.questions import SUBJECTS, Question
from benchmarks.frame import report
from benchmarks.frame.command import Say
from benchmarks.frame.services import ClientProcess, NotStartedError
from sightline.serving.child import heap

FIRST = 4
"""Questions asked to warm up; their answers are compared between servers."""
SHORT = 8
"""Tokens of an answer where the time to its first text is what counts."""
NUMBERS = {"first": 0, "points": 1_000, "pictures": 100_000, "chat": 200_000}
"""Where each measurement's questions begin, so that none is asked twice: nothing is answered from a cache."""
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
        return figures

    def _point(self, clients: int) -> dict[str, Any]:
        first = NUMBERS["points"] * clients
        numbers = range(first, first + self._subject.requests(clients))
        questions = self._serving.wire.ask(self._subject, numbers, self._longest)
        driven, cpu_s = self._drive(questions, clients, self._size.seconds_of(self._part))
        self._check(driven.answers)
        return point(driven, cpu_s=cpu_s, rss_mb=self._serving.usage.rss_mb())

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

    def _drive(self, questions: Any, clients: int, seconds: float) -> tuple[Drive, float]:
        """Drive the server; also returns the processor time that it took."""
        before = self._serving.usage.cpu_s()
        driven = drive(self._serving.port, questions, clients=clients, seconds=seconds)
        cpu_s = self._serving.usage.cpu_s() - before
        self._serving.usage.wait_for_rest()
        return driven, cpu_s

    def _check(self, answers: Sequence[Answer]) -> None:
        """Every answer must have been counted, and be as long as it has to be. Raises WrongAnswerError."""
        for one in answers:
            if one.ended is not None and (not one.tokens or one.tokens != (self._exactly or one.tokens)):
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


def _about() -> dict[str, Any]:
    return {"date": report.now(), "load": report.load()}
