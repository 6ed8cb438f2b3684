"""Proof at load that this model computes the same for a row in a batch as for a request by itself.

`generate()` answers a few made-up requests one by one; then they decode in one batch, which they join and
leave at different steps. The batch is fed the same tokens, and every logit is compared. Then prompts are cut,
computed together and beside steps, and continued from what earlier ones left. No list of model families
stands in for the proof: what does not come out the same is not done for this model.
"""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from shared.errors import CallerError
from worker.engines.continuous.attention import divides
from worker.engines.continuous.kv_cache import GRAIN, BatchingError, as_batching_error
from worker.engines.continuous.prefill import CutPoints, KnownPrompt, Prefill, flat_pass
from worker.engines.continuous.prompt_content import ContentReader, PromptContent, Reusable
from worker.engines.continuous.reuse_cache import ReuseCache
from worker.engines.continuous.runner import Runner, capturable
from worker.engines.continuous.verify_cases import (
    LogitsComparison,
    Part,
    VerifyCase,
    alone,
    ask,
    cases,
    unseen,
    words,
)
from worker.engines.loading.loaded import LoadedModel

log = logging.getLogger("worker.engines.continuous")
# Few columns, so that the cache grows and moves in the little time there is.
COLUMNS = 16
# By turns all rows attend together, almost each by itself, or in a few groups.
WASTES = (None, 2, 40)
# Prompts in one pass are cut each at another token: the first after FIRST, every further one STEP later.
FIRST, STEP = 2, 3
# Tokens of an answer that a chat's next turn goes on from.
QUOTED = 2
# The second sound is longer, so that the first one is filled up beside it.
SOUNDS_S = (0.4, 0.9)
# These choose their frequencies by the longest row of the batch (transformers 5.23, modeling_rope_utils.py).
ROPES_OF_THE_BATCH = ("dynamic", "longrope")


@dataclass(frozen=True)
class Certificate:
    """What the proof found: where prompts may be cut, a token's memory by device, the largest difference.

    Also what later requests may reuse; whether rows may attend in `groups`, steps be `captured`, prompts
    share a `flat` pass, and one with steps (`mixes`). `flaw` says why prompts may not be cut anywhere,
    `apart` why they are computed one by one or not along with steps, `unseen` why nothing about a picture
    could be tried.
    """

    cut_points: CutPoints
    column_bytes: Mapping[torch.device, int]
    difference: float
    reusable: Reusable
    groups: bool
    captured: bool
    flat: bool
    mixes: bool
    flaw: str = ""
    apart: str = ""
    unseen: str = ""

    @property
    def words(self) -> str:
        cut = f"prompts may be cut {self.cut_points.value}" + (f" ({self.flaw})" if self.flaw else "")
        why = f" ({self.apart})" if self.apart else ""
        shared = "computes prompts " + ("together" if self.flat else "one by one")
        shared += (
            " and along with steps" if self.mixes else f", not along with steps{why}" if self.flat else why
        )
        unseen = self.unseen and f"no question about a picture could be tried: {self.unseen}"
        captured = "steps are captured graphs" if self.captured else ""
        return "; ".join(filter(None, (unseen, cut, captured, shared, self.reusable.words)))


@torch.inference_mode()
def verify(loaded: LoadedModel, *, reuse: bool = True) -> Certificate:
    """Takes about as long as nineteen short answers, without `reuse` twelve. Raises BatchingError."""
    _refuse_by_config(loaded)
    network, judge = loaded.network, LogitsComparison(loaded.network.dtype)
    with as_batching_error("a made-up request fails: "):
        made_up = cases(loaded)
    with as_batching_error("it fails beside others: "):
        column_bytes, groups = _crowds(network, made_up, judge)
        captured = _captured(loaded, made_up)
        judge.sharpen()
        cut_points, flaw = _cut_points(network, made_up, judge)
    waste = WASTES[1] if groups else None
    apart = _flaw(lambda: _try_flat(network, made_up, judge, cut_points, waste, beside=False))
    flat = not apart
    if flat:
        # On an H100 with 107 M parameters Python took 23 ms to queue a step that carried prompts, longer than
        # a pass over the prompts and a captured step.
        apart = "captured ones are faster" if captured else ""
        apart = apart or _flaw(lambda: _try_flat(network, made_up, judge, cut_points, waste, beside=True))
    return Certificate(
        cut_points=cut_points,
        column_bytes=column_bytes,
        reusable=_reusable(loaded, cut_points, judge, made_up) if reuse else Reusable(),
        difference=judge.worst,
        groups=groups,
        captured=captured,
        flat=flat,
        mixes=not apart,
        flaw=flaw,
        apart=apart,
        unseen=unseen(loaded, made_up),
    )


def _refuse_by_config(loaded: LoadedModel) -> None:
    """Refuse what the config already tells, or what no short request could show."""
    if loaded.model.cache == "static":
        raise BatchingError("a static cache is made for one request")
    if loaded.network.generation_config.stop_strings:
        raise BatchingError("its generation config names stop strings")
    if loaded.network.generation_config.guidance_scale not in (None, 1):
        # Guidance remembers the tokens that a row drew; after a second prefill it would start afresh.
        raise BatchingError("its generation config has a guidance_scale")
    for feature, limit in _of_the_batch(loaded.network.config.get_text_config()):
        if loaded.facts.context_length > limit:
            far = f" once one has more than {limit} tokens (a context_length up to that is possible)"
            raise BatchingError(f"{feature} on the longest row{far if limit else ''}")


def _of_the_batch(text: Any) -> Iterator[tuple[str, int]]:
    """What depends on the longest row of the batch, and up to how many tokens it does not."""
    ropes = getattr(text, "rope_parameters", None) or {}
    for rope in [ropes, *(value for value in ropes.values() if isinstance(value, dict))]:
        if rope.get("rope_type") in ROPES_OF_THE_BATCH:
            limit = rope.get("original_max_position_embeddings") or text.max_position_embeddings
            yield f"its {rope['rope_type']} positions depend", limit
    # Llama 4 computes it from the cache's length (transformers 5.23, modeling_llama4.py), which may begin so
    # many columns before the longest row.
    if getattr(text, "attn_temperature_tuning", False) and not all(getattr(text, "no_rope_layers", ())):
        yield "its attention's temperature depends", max(0, text.floor_scale - GRAIN)


def _flaw(check: Callable[[], None]) -> str:
    """Why something is not computed as it is by itself; empty if it is."""
    try:
        with as_batching_error():
            check()
    except BatchingError as refusal:
        return str(refusal)
    return ""


# Rows beside others.


def _crowds(
    network: Any, cases: Sequence[VerifyCase], judge: LogitsComparison
) -> tuple[Mapping[torch.device, int], bool]:
    """Try the batch; returns a token's bytes by device and whether rows may attend in groups. May refuse."""
    sizes = Counter[torch.device]()
    flaw = _flaw(lambda: sizes.update(_crowd(network, cases, judge, WASTES))) if divides(network) else "-"
    if not flaw:
        return sizes, True
    if divides(network):
        log.warning("rows of this model all attend together: %s", flaw)
    return _crowd(network, cases, judge, [None]), False


def _captured(loaded: LoadedModel, cases: Sequence[VerifyCase]) -> bool:
    """Try the batch once more, with each step as a captured graph."""
    network = loaded.network
    # A graph's columns are the cache's: no short request could show what depends on their number.
    if not capturable(network) or any(_of_the_batch(network.config.get_text_config())):
        return False
    runner = Runner(network, waste=None, captures=True, columns=COLUMNS, repeats=0)
    try:
        with as_batching_error():
            _crowd(network, cases, LogitsComparison(loaded.network.dtype), [None], runner)
    except BatchingError as error:
        runner.give_up(error)
    return runner.replays > 0 and runner.captures


def _crowd(
    network: Any,
    cases: Sequence[VerifyCase],
    judge: LogitsComparison,
    wastes: Sequence[int | None],
    runner: Runner | None = None,
) -> Counter[torch.device]:
    """Decode all cases in one batch; returns a token's bytes by device.

    Raises BatchingError at a difference.
    """
    runner, waiting, turn = runner or Runner(network, columns=COLUMNS), list(cases), 0
    sizes, rows = Counter[torch.device](), list[VerifyCase]()
    while rows or waiting:
        for case in [case for case in waiting if case.turn <= turn]:
            waiting.remove(case)
            runner.join(_prefilled(network, case, judge, CutPoints.NOWHERE))
            rows.append(case)
        if rows:
            runner.waste = wastes[turn % len(wastes)]
            _step(runner, rows, judge)
            sizes |= runner.cache.column_bytes if runner.cache else sizes
            _leave(runner, rows)
        turn += 1
    return sizes


def _step(
    runner: Runner,
    rows: Sequence[VerifyCase],
    judge: LogitsComparison,
    chunks: Sequence[tuple[Prefill, int]] = (),
) -> None:
    logits = runner.step([case.tokens[case.fed] for case in rows], chunks)
    beside = f"beside {len(rows) - 1} others" if len(rows) > 1 else "in a batch by itself"
    for case, row in zip(rows, logits, strict=True):
        case.fed += 1
        judge.compare(row, case.logits[case.fed], f"{beside} its logits are not those of generate()")


def _leave(runner: Runner, rows: list[VerifyCase]) -> None:
    for row in range(len(rows) - 1, -1, -1):
        if rows[row].fed == len(rows[row].tokens) - 1:
            runner.leave(row)
            rows[row] = rows[-1]
            rows.pop()


def _prefilled(network: Any, case: VerifyCase, judge: LogitsComparison, cut_points: CutPoints) -> Prefill:
    prefill, case.fed = Prefill(network, KnownPrompt(case.inputs), case.config, cut_points), 0
    while prefill.done < prefill.length:
        prefill.advance(prefill.end(case.middle))
    judge.compare(prefill.logits, case.logits[0], "a prompt's logits are not those of generate()")
    return prefill


# Prompts in parts, and together.


def _cut_points(network: Any, cases: Sequence[VerifyCase], judge: LogitsComparison) -> tuple[CutPoints, str]:
    """Where prompts may be cut, and why nowhere else.

    Bidirectional attention, in pictures or everywhere, cannot be chunked.
    """
    flaw = ""
    for cut_points in (CutPoints.ANYWHERE, CutPoints.AROUND_PICTURES):
        found = _flaw(partial(_cut, network, cases, judge, cut_points))
        if not found:
            return cut_points, flaw
        flaw = found
    return CutPoints.NOWHERE, flaw


def _cut(network: Any, cases: Sequence[VerifyCase], judge: LogitsComparison, cut_points: CutPoints) -> None:
    """Raises BatchingError if a prompt computed in chunks leads to other logits."""
    for case in cases:
        runner = Runner(network, columns=COLUMNS)
        runner.join(_prefilled(network, case, judge, cut_points))
        _step(runner, [case], judge)


def _try_flat(
    network: Any,
    cases: Sequence[VerifyCase],
    judge: LogitsComparison,
    cut_points: CutPoints,
    waste: int | None,
    *,
    beside: bool,
) -> None:
    """Compute the prompts in two passes, each cut elsewhere; half of them `beside` steps of the others.

    Raises BatchingError if logits differ.
    """
    made = [(case, Prefill(network, KnownPrompt(case.inputs), case.config, cut_points)) for case in cases]
    alike = [(case, prefill) for case, prefill in made if prefill.joins(made[0][1])]
    if len(alike) < 2:
        raise BatchingError("no two of its prompts fit into one")
    half = len(alike) // 2 if beside else 0
    runner, rows, waiting = Runner(network, waste=waste, columns=COLUMNS), list[VerifyCase](), alike[half:]
    for case, prefill in alike[:half]:
        prefill.advance(prefill.length)
        _join(runner, rows, case, prefill, judge)
    for cut in (True, False):
        chunks = [
            (prefill, prefill.end(FIRST + STEP * number) if cut else prefill.length)
            for number, (_, prefill) in enumerate(waiting)
            if prefill.done < prefill.length
        ]
        if rows:
            _step(runner, rows, judge, chunks)
        else:
            flat_pass(None, chunks)
    for case, prefill in waiting:
        _join(runner, rows, case, prefill, judge)
    _step(runner, rows, judge)


def _join(
    runner: Runner, rows: list[VerifyCase], case: VerifyCase, prefill: Prefill, judge: LogitsComparison
) -> None:
    judge.compare(prefill.logits, case.logits[0], "prompts in one pass are answered otherwise")
    runner.join(prefill)
    rows.append(case)
    case.fed = 0


# Prompts that earlier ones are reused for. Each request of a made-up chat is answered twice: by `generate()`
# by itself, and on what the requests before it left in memory.


def _reusable(
    loaded: LoadedModel, cut_points: CutPoints, judge: LogitsComparison, cases: Sequence[VerifyCase]
) -> Reusable:
    """What later requests may reuse, tried with a chat that begins with cases[0], with sounds and videos."""
    if cut_points is CutPoints.NOWHERE:
        return Reusable(flaw="they cannot be cut")
    chat = _chat(loaded, cases[0])
    if chat is None:
        return Reusable(flaw="no chat to try it with could be made")

    def flaw_of(wish: Reusable, chat: Sequence[VerifyCase], several: Sequence[VerifyCase] = ()) -> str:
        check = ReuseCheck(loaded, cut_points, judge, wish)
        return _flaw(lambda: check.hold(chat, several))

    several = [case for case in cases if len(case.asked.pictures) > 1]
    proved, flaw = Reusable(beginnings=True, apart=True), ""
    if flaw := flaw_of(proved, chat, several):
        proved = Reusable(beginnings=True, flaw=flaw)
        if flaw_of(proved, chat, several):
            return Reusable(flaw=flaw)
    for kind, turns in _other_media(loaded).items():
        made = _answered(loaded, turns[:1], [*turns[:1], [words(2, 5)], *turns[1:]])
        wish = replace(proved, sounds=proved.sounds or kind == "sounds", videos=kind == "videos")
        if made and not (found := flaw_of(wish, [made[0], *made])):
            proved = wish
        elif made:
            proved = replace(proved, flaw=proved.flaw or found)
    return proved


def _other_media(loaded: LoadedModel) -> dict[str, list[list[Part]]]:
    """Two questions of a chat with sounds, and two with videos, where the model takes them."""
    media: dict[str, list[list[Part]]] = {}
    if loaded.renderer.sound_input.rate:
        media["sounds"] = [[SOUNDS_S[0], words(5, 4)], [SOUNDS_S[1], words(3, 7)]]
    if loaded.renderer.video_input.takes:
        media["videos"] = [[loaded.renderer.video_input.made_up(), words(5, 4)], [words(3, 7)]]
    return media


class ReuseCheck:
    """Holds a chat with a ReuseCache of its own."""

    def __init__(
        self, loaded: LoadedModel, cut_points: CutPoints, judge: LogitsComparison, wish: Reusable
    ) -> None:
        self._network, self._judge, self._apart = loaded.network, judge, wish.apart
        self._reuse = ReuseCache(loaded, cut_points, sys.maxsize)
        self._reader = ContentReader(loaded, wish)

    def hold(self, chat: Sequence[VerifyCase], several: Sequence[VerifyCase]) -> None:
        """Each request of the chat twice, the second time with its whole prompt known; `chat` begins with two
        questions. Raises BatchingError if one is not answered as it is by itself.
        """
        first, other, *turns = chat
        for case in (*several, first, first):
            self._ask(case)
        for before, case in pairwise((first, *turns)):
            self._answer(before, case)
            for each in (case, other, case, other):
                self._ask(each)
        if not self._reuse.hits:
            raise BatchingError("nothing of it is found again")

    def _ask(self, case: VerifyCase) -> None:
        content = self._content(case)
        prefill, runner = self._prefilled(content, case), Runner(self._network)
        self._reuse.keep(content, prefill)
        runner.join(prefill)
        for got, expected in zip((prefill.logits, runner.step(case.tokens[:1])), case.logits, strict=False):
            self._judge.compare(got, expected, "a prompt that is known in part is answered otherwise")

    def _answer(self, case: VerifyCase, following: VerifyCase) -> None:
        """Answer the case with the words that `following` quotes, so that this turn can reuse them."""
        content, runner = self._content(case), Runner(self._network)
        runner.join(self._prefilled(content, case))
        length = case.inputs["input_ids"].shape[1]
        fed = following.inputs["input_ids"][0, length : length + QUOTED].tolist()
        for token in fed:
            runner.step([token])
        self._reuse.keep_answer(content, fed, lambda: runner.past(0))

    def _content(self, case: VerifyCase) -> PromptContent:
        asked = case.asked
        return self._reader.content(asked.prompt, asked.pictures, "", asked.sounds, asked.videos)

    def _prefilled(self, content: PromptContent, case: VerifyCase) -> Prefill:
        known = self._reuse.known(content)
        prefill = Prefill(self._network, known, case.config, self._reuse.cut_points)
        if (
            self._apart
            and len(case.asked.pictures) > 1
            and prefill.done == 0
            and prefill.end(1) == prefill.length
        ):
            raise BatchingError("its encoded pictures cannot be taken apart")
        prefill.advance(prefill.length)
        return prefill


def _chat(loaded: LoadedModel, first: VerifyCase) -> Sequence[VerifyCase] | None:
    """The first case, another question about the same picture, and turns that follow upon the first.

    One shows nothing new, two a picture each, if the model takes them: some processors cut pictures otherwise
    beside others.
    """
    parts = [*first.asked.turns[0]]
    shown = [part for part in parts if isinstance(part, int)]
    other: list[Part] = [*shown, words(4, 8)]
    chats, turns = list[list[list[Part]]](), [parts]
    for number in range(3 if shown else 1):
        new = [max(shown) + number] if number else []
        turns = [*turns, [words(5 + number, 5)], [*new, words(3 - number, 7)]]
        chats.append(turns)
    # A model without a chat template takes one turn, and a longer text in it.
    longer = [[*parts, f" {words(3, 7)}"]]
    tried = [*(chats[:count] for count in range(len(chats), 0, -1)), [longer]]
    fitting = (_answered(loaded, [other], *follow_ups) for follow_ups in tried)
    return next(((first, *chat) for chat in fitting if chat), None)


def _answered(loaded: LoadedModel, *chats: Sequence[Sequence[Part]]) -> Sequence[VerifyCase]:
    """The chats with their answers; none if the model does not take one of them."""
    try:
        asked = [ask(loaded, *turns) for turns in chats]
        if max(one.prompt.tokens for one in asked) + QUOTED > loaded.facts.context_length:
            return ()
        with as_batching_error():
            return [alone(loaded, one, QUOTED) for one in asked]
    except (CallerError, BatchingError):
        return ()
