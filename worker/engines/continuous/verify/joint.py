"""Proof at load that prompts sharing a pass, and pictures sharing a call of the encoder, come out unchanged.

All made-up prompts are computed in one pass, then again in two passes, the second of which begins at a
different token in each prompt. The logits of the first two tokens are compared. Last, half of the requests
decode, and their first two steps compute the other prompts as well, in two chunks each.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.engines.continuous import shared_pass
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.errors import BatchingError, as_batching_error
from worker.engines.continuous.prefill import CutPoints, Prefill, Prefilled
from worker.engines.continuous.prompt_content import ContentReader, PromptContent, Reusable
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.verify.cases import LogitsComparison, VerifyCase
from worker.engines.loading.loaded import LoadedModel

# Each prompt is cut at another token: the first after FIRST, every further one STEP later.
FIRST, STEP = 2, 3
OTHERWISE = "prompts in one pass are answered otherwise"


@dataclass(frozen=True)
class SharedPassCases:
    """Whether `prompts` may share a pass, their `pictures` an encoder call, and prompts a pass with `steps`.

    `flaw` says why not.
    """

    prompts: bool = False
    pictures: bool = False
    steps: bool = False
    flaw: str = ""

    @property
    def words(self) -> str:
        """What was proved, in words for the operator."""
        if not self.prompts:
            return f"computes prompts one by one ({self.flaw})"
        steps = " and along with steps" if self.steps else f", not along with steps ({self.flaw})"
        return f"computes prompts together{steps}" + ("" if self.pictures else ", their pictures one by one")


def shared_pass_cases(
    loaded: LoadedModel,
    cut_points: CutPoints,
    judge: LogitsComparison,
    cases: Sequence[VerifyCase],
    reusable: Reusable,
    waste: int | None = None,
    *,
    captured: bool = False,
) -> SharedPassCases:
    """Try with shared encoder calls, else without. `judge` must be sharpened; `waste` is that of Batch.

    `captured`: steps are captured graphs, and take no prompts along. On an H100 with 107 M parameters Python
    took 23 ms to queue a step that did, longer than a pass over the prompts and a captured step.
    """
    flaw = ""
    for pictures in [True, False] if reusable.pictures else [False]:
        check = SharedPassCheck(loaded, cut_points, judge, reusable, waste, pictures=pictures)
        flaw = _flaw(check.at_once, cases)
        if not flaw:
            flaw = "captured ones are faster" if captured else _flaw(check.beside_steps, cases)
            return SharedPassCases(prompts=True, pictures=pictures, steps=not flaw, flaw=flaw)
    return SharedPassCases(flaw=flaw)


class SharedPassCheck:
    """Computes all made-up requests at once, each for a caller of its own."""

    def __init__(
        self,
        loaded: LoadedModel,
        cut_points: CutPoints,
        judge: LogitsComparison,
        reusable: Reusable,
        waste: int | None,
        *,
        pictures: bool,
    ) -> None:
        self._network = loaded.network
        self._cut_points = cut_points
        self._judge = judge
        self._waste = waste
        self._reuse = ReuseCache(loaded, cut_points, sys.maxsize, reusable, together=pictures)
        self._reader = ContentReader(loaded, reusable, known_tokens=self._reuse.placeholders)

    def at_once(self, cases: Sequence[VerifyCase]) -> None:
        """Compute all prompts in one pass, then in two. Raises BatchingError if logits differ."""
        for cut in (False, True):
            alike, prefills = self._alike(cases)
            done = self._advance(prefills, _ends(prefills, cut=cut))
            rest = [prefill for prefill, one in zip(prefills, done, strict=True) if one is None]
            finished = iter(self._advance(rest, _ends(rest, cut=False)) if rest else ())
            batch = Batch(self._network)
            for case, one in zip(alike, done, strict=True):
                self._join(batch, case, one or next(finished))
            self._step(batch, alike)

    def beside_steps(self, cases: Sequence[VerifyCase]) -> None:
        """Compute prompts in the passes of steps.

        Raises BatchingError if a row's or a prompt's logits differ.
        """
        if self._cut_points is not CutPoints.ANYWHERE:
            raise BatchingError("its pictures' tokens attend to each other")
        alike, prefills = self._alike(cases)
        half, batch = len(alike) // 2, Batch(self._network, waste=self._waste)
        rows, waiting = alike[:half], dict(zip(alike[half:], prefills[half:], strict=True))
        for case, prefill in zip(rows, prefills, strict=False):
            self._join(batch, case, prefill.advance())
        for cut in (True, False):
            chunks = list(zip(waiting.values(), _ends(list(waiting.values()), cut=cut), strict=True))
            prefilled = self._step(batch, rows, chunks)
            for case, one in [pair for pair in zip(waiting, prefilled, strict=True) if pair[1] is not None]:
                self._join(batch, case, one)
                rows.append(case)
                del waiting[case]
        self._step(batch, rows)

    def _alike(self, cases: Sequence[VerifyCase]) -> tuple[list[VerifyCase], list[Prefill]]:
        """The cases whose prompts can share a pass. Raises BatchingError if there are fewer than two."""
        ready = self._ready(cases)
        alike = [at for at, prefill in enumerate(ready) if prefill.joins(ready[0])]
        if len(alike) < 2:
            raise BatchingError("shorter rows cannot be filled up")
        return [cases[at] for at in alike], [ready[at] for at in alike]

    def _advance(self, prefills: Sequence[Prefill], ends: Sequence[int]) -> list[Prefilled | None]:
        longest = max(end - prefill.done for prefill, end in zip(prefills, ends, strict=True))
        return shared_pass.advance(
            prefills, ends, shared_pass.filled(longest, shared_pass.grain(self._network))
        )

    def _ready(self, cases: Sequence[VerifyCase]) -> list[Prefill]:
        contents = [self._content(case, f"{number}") for number, case in enumerate(cases)]
        with self._reuse.encoding_ahead(contents):
            return [
                Prefill(self._network, self._reuse.head(content), case.config, cut_points=self._cut_points)
                for case, content in zip(cases, contents, strict=True)
            ]

    def _content(self, case: VerifyCase, scope: str) -> PromptContent:
        return self._reader.content(case.asked.prompt, case.asked.pictures, scope)

    def _join(self, batch: Batch, case: VerifyCase, prefilled: Prefilled | None) -> None:
        if prefilled is None:
            raise BatchingError("a prompt was not computed to its end")
        self._judge.compare(prefilled.logits, case.logits[0], OTHERWISE)
        batch.join(prefilled)
        case.fed = 0

    def _step(
        self, batch: Batch, rows: Sequence[VerifyCase], chunks: Sequence[tuple[Prefill, int]] = ()
    ) -> list[Prefilled | None]:
        logits, prefilled = batch.mixed_step([case.tokens[case.fed] for case in rows], chunks)
        for case, row in zip(rows, logits, strict=True):
            case.fed += 1
            self._judge.compare(row, case.logits[case.fed], OTHERWISE)
        return prefilled


def _ends(prefills: Sequence[Prefill], *, cut: bool) -> list[int]:
    """The prompts' ends, or with `cut` a different place early in each."""
    return [
        prefill.end(FIRST + STEP * number) if cut else prefill.length
        for number, prefill in enumerate(prefills)
    ]


def _flaw(check: Callable[[Sequence[VerifyCase]], None], cases: Sequence[VerifyCase]) -> str:
    """Why a case is not answered as it is by itself; empty if all are."""
    try:
        with as_batching_error():
            check(cases)
    except BatchingError as refusal:
        return str(refusal)
    return ""
