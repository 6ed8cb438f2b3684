"""Proof at load that prompts which share a pass, and pictures that share a call of the encoder, are computed
as if they had it to themselves.

All made-up requests come at once. They are computed in one pass, and then once more in two, of which the
second begins at another token in each of them. The logits of the first two tokens are compared.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from worker.engines.continuous import joint
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.cases import Case
from worker.engines.continuous.content import Content, Reader
from worker.engines.continuous.faults import device_broken, out_of_memory
from worker.engines.continuous.judge import Judge
from worker.engines.continuous.prefill import Prefill, Prefilled, Seams
from worker.engines.continuous.refusal import Refusal
from worker.engines.continuous.reusable import Reusable
from worker.engines.continuous.reuse import Reuse
from worker.engines.loaded import LoadedModel

# Tokens of the first prompt, and how many more of each of the others, before they are cut.
FIRST, STEP = 2, 3


@dataclass(frozen=True)
class Together:
    """Whether `prompts` share a pass, and their `pictures` a call of the encoder. `flaw` says why not."""

    prompts: bool = False
    pictures: bool = False
    flaw: str = ""

    @property
    def words(self) -> str:
        """For who runs the worker."""
        if not self.prompts:
            return f"computes prompts one by one ({self.flaw})"
        return "computes prompts together" + (", their pictures one by one" if not self.pictures else "")


def together(
    loaded: LoadedModel, seams: Seams, judge: Judge, cases: Sequence[Case], what: Reusable
) -> Together:
    """The judge was sharpened."""
    flaw = ""
    for pictures in [True, False] if what.pictures else [False]:
        flaw = _flaw(Rehearsal(loaded, seams, judge, what, pictures=pictures), cases)
        if not flaw:
            return Together(prompts=True, pictures=pictures)
    return Together(flaw=flaw)


class Rehearsal:
    """All requests at once, each of a caller of its own."""

    def __init__(
        self, loaded: LoadedModel, seams: Seams, judge: Judge, what: Reusable, *, pictures: bool
    ) -> None:
        self._network = loaded.network
        self._seams = seams
        self._judge = judge
        self._reuse = Reuse(loaded.network, seams, sys.maxsize, what, together=pictures)
        self._reader = Reader(loaded, what, known=self._reuse.known)

    def ask(self, cases: Sequence[Case], firsts: Sequence[int | None]) -> None:
        """About so many tokens of each prompt first. Raises Refusal where one is answered otherwise."""
        ready = self._ready(cases)
        mixed = [at for at, prefill in enumerate(ready) if prefill.joins(ready[0])]
        if len(mixed) < 2:
            raise Refusal("shorter rows cannot be filled up")
        prefills = [ready[at] for at in mixed]
        done = self._advance(prefills, [ready[at].end(firsts[at]) for at in mixed])
        left = [at for at, prefilled in enumerate(done) if prefilled is None]
        rest = [prefills[at] for at in left]
        finished = iter(self._advance(rest, [one.length for one in rest]) if rest else ())
        self._compare([cases[at] for at in mixed], [one or next(finished) for one in done])

    def _advance(self, prefills: Sequence[Prefill], ends: Sequence[int]) -> list[Prefilled | None]:
        longest = max(end - prefill.done for prefill, end in zip(prefills, ends, strict=True))
        return joint.advance(prefills, ends, joint.filled(longest, joint.grain(self._network)))

    def _ready(self, cases: Sequence[Case]) -> list[Prefill]:
        contents = [self._content(case, f"{number}") for number, case in enumerate(cases)]
        with self._reuse.looking(contents):
            return [
                Prefill(self._network, self._reuse.head(content), case.config, seams=self._seams)
                for case, content in zip(cases, contents, strict=True)
            ]

    def _content(self, case: Case, scope: str) -> Content:
        return self._reader.content(case.asked.prompt, case.asked.pictures, scope)

    def _compare(self, cases: Sequence[Case], done: Sequence[Prefilled | None]) -> None:
        batch = Batch(self._network)
        for prefilled in done:
            if prefilled is None:
                raise Refusal("a prompt was not computed to its end")
            batch.join(prefilled)
        first = [prefilled.logits for prefilled in done if prefilled]
        second = batch.step([case.tokens[0] for case in cases])
        for case, *found in zip(cases, first, second, strict=True):
            if not all(map(self._judge.same, found, case.logits[:2])):
                raise Refusal("prompts in one pass are answered otherwise")


def _flaw(rehearsal: Rehearsal, cases: Sequence[Case]) -> str:
    """Empty where all are answered as alone."""
    try:
        for firsts in ([None] * len(cases), [FIRST + STEP * number for number in range(len(cases))]):
            rehearsal.ask(cases, firsts)
    except Refusal as refusal:
        return str(refusal)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        if out_of_memory(error) or device_broken(error):
            raise
        return f"{type(error).__name__}: {error}"[:300]
    return ""
