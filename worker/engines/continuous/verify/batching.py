"""Proof at load that this model computes the same for a row in a batch as for a request by itself.

`generate()` answers a few made-up requests one by one; then they decode in one batch, which they join and
leave at different steps. The batch is fed the same tokens, and every logit is compared. No list of model
families stands in for the proof.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from worker.engines.continuous.attention import divides
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.captured_step import CapturedSteps, capturable
from worker.engines.continuous.errors import BatchingError, as_batching_error
from worker.engines.continuous.kv_slices import KnownPrefix
from worker.engines.continuous.prefill import CutPoints, Prefill, Prefilled
from worker.engines.continuous.prefill_queue import HOLE
from worker.engines.continuous.prompt_content import Reusable
from worker.engines.continuous.verify.cases import LogitsComparison, VerifyCase, cases, unseen
from worker.engines.continuous.verify.joint import SharedPassCases, shared_pass_cases
from worker.engines.continuous.verify.reuse import reusable
from worker.engines.loading.loaded import LoadedModel

log = logging.getLogger("worker.engines.continuous.verify")
# Few columns, so that the cache grows and moves in the little time there is.
COLUMNS = 16
# By turns all rows attend together, almost each by itself, or in a few groups.
WASTES = (None, 2, 40)
# These choose their frequencies by the longest row of the batch (transformers 5.23, modeling_rope_utils.py).
ROPES_OF_THE_BATCH = ("dynamic", "longrope")


@dataclass(frozen=True)
class Certificate:
    """What the proof found: where prompts may be cut, a token's memory by device, the largest difference.

    Also what later requests may reuse, whether rows may attend in groups, whether steps may be captured, and
    what of several prompts may be computed together. `flaw` says why prompts may not be cut anywhere,
    `unseen` why nothing about a picture could be tried.
    """

    cut_points: CutPoints
    column_bytes: Mapping[torch.device, int]
    difference: float
    reusable: Reusable
    groups: bool
    captured: bool
    together: SharedPassCases
    flaw: str = ""
    unseen: str = ""


@torch.inference_mode()
def verify(loaded: LoadedModel, *, reuse: bool = True) -> Certificate:
    """Takes about as long as nineteen short answers, without `reuse` twelve. Raises BatchingError."""
    _refuse_by_config(loaded)
    judge = LogitsComparison(loaded.format)
    with as_batching_error("a made-up request fails: "):
        made_up = cases(loaded)
    with as_batching_error("it fails beside others: "):
        column_bytes, groups = _crowds(loaded.network, made_up, judge)
        captured = _captured(loaded, made_up)
        judge.sharpen()
        cut_points, flaw = _cut_points(loaded.network, made_up, judge)
    reuse_proof = reusable(loaded, cut_points, judge, made_up) if reuse else Reusable()
    waste = WASTES[1] if groups else None
    shared = shared_pass_cases(loaded, cut_points, judge, made_up, reuse_proof, waste, captured=captured)
    pictureless = unseen(loaded, made_up)
    return Certificate(
        cut_points, column_bytes, judge.worst, reuse_proof, groups, captured, shared, flaw, pictureless
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
    # Llama 4 computes it from the cache's length (transformers 5.23, modeling_llama4.py), which in a pass of
    # several prompts may exceed the longest prompt's by HOLE.
    if getattr(text, "attn_temperature_tuning", False) and not all(getattr(text, "no_rope_layers", ())):
        yield "its attention's temperature depends", max(0, text.floor_scale - HOLE)


def _crowds(
    network: Any, cases: Sequence[VerifyCase], judge: LogitsComparison
) -> tuple[Mapping[torch.device, int], bool]:
    """Try the batch; returns a token's bytes by device and whether rows may attend in groups. May refuse."""
    if not divides(network):
        return _crowd(network, cases, judge, [None]), False
    try:
        with as_batching_error():
            return _crowd(network, cases, judge, WASTES), True
    except BatchingError as error:
        column_bytes = _crowd(network, cases, judge, [None])
        log.warning("rows of this model all attend together: %s", error)
        return column_bytes, False


def _captured(loaded: LoadedModel, cases: Sequence[VerifyCase]) -> bool:
    """Try the batch once more, with each step as a captured graph."""
    network = loaded.network
    # A graph's columns are the cache's: no short request could show what depends on their number.
    if not capturable(network) or any(_of_the_batch(network.config.get_text_config())):
        return False
    steps = CapturedSteps(network, repeats=0)
    try:
        with as_batching_error():
            _crowd(network, cases, LogitsComparison(loaded.format), [None], steps)
    except BatchingError as error:
        steps.give_up(error)
    return steps.replays > 0 and not steps.failed


def _crowd(
    network: Any,
    cases: Sequence[VerifyCase],
    judge: LogitsComparison,
    wastes: Sequence[int | None],
    captured: CapturedSteps | None = None,
) -> Mapping[torch.device, int]:
    """Decode all cases in one batch; returns a token's bytes by device.

    Raises BatchingError at a difference.
    """
    batch, waiting, turn = Batch(network, COLUMNS, captured=captured), list(cases), 0
    column_bytes = Counter[torch.device]()
    rows: list[VerifyCase] = []
    for case in cases:
        case.fed = 0
    while rows or waiting:
        for case in [case for case in waiting if case.turn <= turn]:
            waiting.remove(case)
            batch.join(_prefilled(network, case, judge, CutPoints.NOWHERE))
            rows.append(case)
        if rows:
            batch.waste = wastes[turn % len(wastes)]
            _step(batch, rows, judge)
            column_bytes |= batch.column_bytes
            _leave(batch, rows)
        turn += 1
    return column_bytes


def _step(batch: Batch, rows: list[VerifyCase], judge: LogitsComparison) -> None:
    logits = batch.step([case.tokens[case.fed] for case in rows])
    for case, row in zip(rows, logits, strict=True):
        case.fed += 1
        beside = f"beside {len(rows) - 1} others" if len(rows) > 1 else "in a batch by itself"
        judge.compare(row, case.logits[case.fed], f"{beside} its logits are not those of generate()")


def _leave(batch: Batch, rows: list[VerifyCase]) -> None:
    for row in range(len(rows) - 1, -1, -1):
        if rows[row].fed == len(rows[row].tokens) - 1:
            batch.leave(row)
            rows[row] = rows[-1]
            rows.pop()


def _prefilled(network: Any, case: VerifyCase, judge: LogitsComparison, cut_points: CutPoints) -> Prefilled:
    prefill = Prefill(network, KnownPrefix(case.inputs), case.config, cut_points=cut_points)
    prefilled = None
    while prefilled is None:
        prefilled = prefill.advance(case.middle)
    judge.compare(prefilled.logits, case.logits[0], "a prompt's logits are not those of generate()")
    return prefilled


def _cut_points(network: Any, cases: Sequence[VerifyCase], judge: LogitsComparison) -> tuple[CutPoints, str]:
    """Where prompts may be cut, and why nowhere else.

    Bidirectional attention, in pictures or everywhere, cannot be chunked.
    """
    flaw = ""
    for cut_points in (CutPoints.ANYWHERE, CutPoints.AROUND_PICTURES):
        try:
            with as_batching_error():
                for case in cases:
                    _cut(network, case, judge, cut_points)
        except BatchingError as refusal:
            flaw = str(refusal)
            continue
        return cut_points, flaw
    return CutPoints.NOWHERE, flaw


def _cut(network: Any, case: VerifyCase, judge: LogitsComparison, cut_points: CutPoints) -> None:
    """Raises BatchingError if a prompt computed in chunks leads to other logits."""
    batch = Batch(network, COLUMNS)
    batch.join(_prefilled(network, case, judge, cut_points))
    case.fed = 0
    _step(batch, [case], judge)
