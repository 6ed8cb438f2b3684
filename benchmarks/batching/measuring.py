"""One server, one model: a closed loop for each number of clients, pictures asked again, and a chat."""

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import count
from statistics import median
from typing import Any

from benchmarks.batching import figures
from benchmarks.batching.driver import Drive, Told, WrongAnswerError, drive
from benchmarks.batching.plan import Part, Size
from benchmarks.batching.questions import SUBJECTS, Asked
from benchmarks.batching.servers import Serving

FIRST = 4
"""Questions asked to warm up; their answers are compared between servers."""
SHORT = 8
"""Tokens of an answer where the time to its first text is what counts."""
NUMBERS = {"first": 0, "points": 1_000, "pictures": 100_000, "chat": 200_000}
"""Where each measurement's questions begin, so that none is asked twice: nothing is answered from a cache."""
LONGEST_S = 600.0


class Measuring:
    """One part, while its server serves."""

    def __init__(self, part: Part, size: Size, serving: Serving) -> None:
        self._part, self._size, self._serving = part, size, serving
        self._subject = SUBJECTS[part.model]
        self._longest = min(self._subject.longest, size.longest)
        self._exactly = None if self._subject.ends else self._longest

    def all(self, say: Callable[[str], None]) -> dict[str, Any]:
        """Every figure of the part. Raises WrongAnswerError."""
        found: dict[str, Any] = {"answers": self._first(), "points": {}}
        for clients in self._size.clients_of(self._part):
            point = self.point(clients)
            found["points"][str(clients)] = point
            say(f"{self._part}: {clients} clients, {point['tokens_per_s']} tokens/s")
        if self._part.cores == 1:
            found["pictures"] = {
                "different": self._pictures(NUMBERS["pictures"], same=False),
                "same": self._pictures(NUMBERS["pictures"] + self._size.at_once, same=True),
            }
            found["chat_ttft_ms"] = self._chats()
        return found

    def point(self, clients: int) -> dict[str, Any]:
        first = NUMBERS["points"] * clients
        numbers = range(first, first + self._subject.requests(clients))
        questions = self._serving.wire.ask(self._subject, numbers, self._longest)
        driven, cpu_s = self._drive(questions, clients, self._size.seconds_of(self._part))
        self._check(driven.told)
        rss_mb = self._serving.usage.rss_mb()
        return figures.point(driven, cpu_s=cpu_s, rss_mb=rss_mb, exactly=self._exactly)

    def _first(self) -> list[str]:
        """Digests of the answers to the first questions, asked at once."""
        questions = self._serving.wire.ask(self._subject, range(FIRST), SHORT)
        driven, _ = self._drive(questions, FIRST, LONGEST_S)
        return [hashlib.sha256(told.text.encode()).hexdigest()[:8] for told in driven.told]

    def _pictures(self, first: int, *, same: bool) -> dict[str, Any]:
        """Questions asked at once: each about a picture of its own, or all about one."""
        asked = [self._subject.ask(number) for number in range(first, first + self._size.at_once)]
        if same:
            asked = [Asked(asked[0].picture, f"{n} {one.text}") for n, one in enumerate(asked)]
        questions = [self._serving.wire.post([one.message], SHORT) for one in asked]
        driven, cpu_s = self._drive(questions, len(questions), LONGEST_S)
        return {"wall_s": round(driven.wall_s, 2), "cpu_s": round(cpu_s, 2)} | figures.first_text(
            driven.told, driven.wall_s
        )

    def _chats(self) -> list[float]:
        """Median time to the first text of each turn."""
        numbers = count(NUMBERS["chat"])
        chats = [
            self._chat([next(numbers) for _ in range(self._size.turns)]) for _ in range(self._size.chats)
        ]
        return [round(median(turn) * 1e3, 1) for turn in zip(*chats, strict=True)]

    def _chat(self, numbers: Sequence[int]) -> list[float]:
        """One picture, and questions that each follow on the answers so far."""
        said: list[dict[str, Any]] = []
        waits = []
        for number in numbers:
            asked = self._subject.ask(number)
            said.append({"role": "user", "content": asked.text} if said else asked.message)
            driven, _ = self._drive([self._serving.wire.post(said, SHORT)], 1, LONGEST_S)
            told = driven.told[0]
            said.append({"role": "assistant", "content": told.text})
            waits.append(told.wait_s)
        return waits

    def _drive(self, questions: Any, clients: int, seconds: float) -> tuple[Drive, float]:
        """Drive the server; also returns the processor time that it took."""
        before = self._serving.usage.cpu_s()
        driven = drive(self._serving.port, questions, clients=clients, seconds=seconds)
        cpu_s = self._serving.usage.cpu_s() - before
        self._serving.usage.wait_for_rest()
        return driven, cpu_s

    def _check(self, told: Sequence[Told]) -> None:
        """Every answer must have been counted, and be as long as it has to be. Raises WrongAnswerError."""
        for one in told:
            if one.ended is not None and (not one.tokens or one.tokens != (self._exactly or one.tokens)):
                raise WrongAnswerError(f"{one.tokens} tokens: {json.dumps(one.text[:200])}")
