"""What is measured: which server with which model, in which number format, on how much of the machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

SYSTEMS = {
    "continuous": "ours, engine `continuous`",
    "wide": "ours, engine `continuous`, one worker",
    "sequential": "ours, engine `sequential`",
    "serve": "`transformers serve`",
    "vllm": "vLLM, CPU build",
}
OURS = ("continuous", "wide", "sequential")
WIDE = "wide"
"""One worker with a thread for each core; `continuous` is one worker of one thread for each core."""
ONE_BY_ONE = ("sequential", "serve")
"""Systems that compute one answer after the other, so a measurement may end after any answer."""
WHOLE_ONLY = (WIDE, "vllm")
"""vLLM's engine keeps both cores busy whatever it is bound to."""
MODELS = ("tiny", "mid")
DTYPES = ("float32", "bfloat16")
CLIENTS = (1, 4, 8, 16, 32)
CROWDS = (16, 32)
"""Numbers of clients only for the whole machine, whose limits show only with many."""
CORES = (1, 2)


@dataclass(frozen=True)
class Part:
    """One server in one run. With two cores ours are two workers of one thread, others and `wide` have two
    threads."""

    system: str
    model: str
    dtype: str
    cores: int

    def __str__(self) -> str:
        return f"{self.model} {self.dtype} {self.cores} {self.system}"


@dataclass(frozen=True)
class Size:
    """How thoroughly: tokens of an answer, turns of a chat and so on.

    A number of clients is measured until all is answered, or until the first complete answer after a time:
    `one_by_one_s` seconds where answers are computed one after the other, else `together_s`.
    """

    one_by_one_s: float
    together_s: float
    clients: tuple[int, ...]
    longest: int = 128
    turns: int = 5
    chats: int = 2
    at_once: int = 16
    decode_rows: int = 16
    decode_tokens: int = 128

    def seconds_of(self, part: Part) -> float:
        return self.one_by_one_s if part.system in ONE_BY_ONE else self.together_s

    def clients_of(self, part: Part) -> tuple[int, ...]:
        if part.cores == 1:
            return self.clients
        return tuple(n for n in self.clients if n in CROWDS) or self.clients[-1:]


FULL = Size(15, 60, CLIENTS)
QUICK = Size(2, 10, (1, 4), longest=24, turns=2, chats=1, at_once=4, decode_rows=4, decode_tokens=48)


def parts(systems: Sequence[str], models: Sequence[str], dtypes: Sequence[str]) -> Iterator[Part]:
    """All parts; those that are compared run one right after the other."""
    for model, dtype, cores, system in product(models, dtypes, CORES, systems):
        if system not in WHOLE_ONLY or cores == max(CORES):
            yield Part(system, model, dtype, cores)
