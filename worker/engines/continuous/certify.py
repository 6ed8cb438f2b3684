"""Proof at load that this model computes beside others what it computes alone.

A few made-up requests are answered by `generate()` one by one, then in a crowd that they join and leave at
different steps; the crowd is fed the same tokens, and every logit is compared. No list of families stands in
for the proof.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image as Pictures
from PIL.Image import Image as Picture
from transformers import GenerationConfig

from shared.errors import CallerError
from shared.request import Image, Message, Request, Text
from worker.engines.base import Prompt
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.faults import device_broken, out_of_memory
from worker.engines.continuous.prefill import Prefill, Prefilled, Seams
from worker.engines.continuous.refusal import Refusal
from worker.engines.loaded import LoadedModel

# Turn at which a request joins, its pictures, words and tokens: rows of all lengths leave from all places.
PLAN = ((0, 1, 9, 9), (1, 0, 3, 5), (3, 2, 5, 8), (4, 1, 30, 3), (6, 0, 16, 6))
# Few columns, so that the cache grows and moves in the little time there is.
COLUMNS = 16
# Logits may differ by this part of the largest: rounding in another order, and no more.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
# A prompt in pieces is nearer to one in one go than that: a picture cut in two may show in few logits only.
PIECES = 0.25
# These choose their frequencies by the longest row of the batch (transformers 5.23, modeling_rope_utils.py).
ROPES_OF_THE_BATCH = ("dynamic", "longrope")


@dataclass(frozen=True)
class Certificate:
    """What the proof found out: where prompts may be cut, a token's memory, the largest difference seen."""

    seams: Seams
    column_bytes: int
    difference: float


@dataclass(eq=False)
class Case:
    """One made-up request, its answer alone, and how far the crowd is with it.

    `middle` is the place in the prompt where a cut would do most harm: inside its pictures.
    """

    turn: int
    inputs: dict[str, Any]
    config: GenerationConfig
    tokens: list[int]
    logits: list[torch.Tensor]
    middle: int
    fed: int = 0


class Judge:
    """Compares logits, and remembers the largest difference."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.worst = 0.0
        self._exact = dtype is torch.float32
        self._tolerance = TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16])

    def sharpen(self) -> None:
        """From now on allow little more than what was seen in the crowd."""
        self._tolerance = max(PIECES * self._tolerance, 2 * self.worst)

    def same(self, got: torch.Tensor, alone: torch.Tensor) -> bool:
        got, alone = got.flatten(), alone.flatten()
        seen = torch.isfinite(alone)
        scale = max(float(alone[seen].abs().max()), 1e-9)
        difference = float((got[seen] - alone[seen]).abs().max()) / scale
        if not difference <= self._tolerance:
            return False
        self.worst = max(self.worst, difference)
        return not self._exact or bool(got.argmax() == alone.argmax())


@torch.inference_mode()
def certify(loaded: LoadedModel) -> Certificate:
    """Takes about as long as ten short answers. Raises Refusal with the reason."""
    _refuse_by_config(loaded)
    judge = Judge(loaded.network.dtype)
    try:
        cases = _cases(loaded)
        column_bytes = _crowd(loaded.network, cases, judge)
        judge.sharpen()
        return Certificate(_seams(loaded.network, cases, judge), column_bytes, judge.worst)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        if out_of_memory(error) or device_broken(error):
            raise
        raise Refusal(f"it fails beside others: {type(error).__name__}: {error}"[:300]) from error


def _refuse_by_config(loaded: LoadedModel) -> None:
    """What no short request can show."""
    if loaded.network.generation_config.stop_strings:
        raise Refusal("its generation config names stop strings")
    text = loaded.network.config.get_text_config()
    ropes = getattr(text, "rope_parameters", None) or {}
    for rope in [ropes, *(value for value in ropes.values() if isinstance(value, dict))]:
        limit = rope.get("original_max_position_embeddings") or text.max_position_embeddings
        if rope.get("rope_type") in ROPES_OF_THE_BATCH and loaded.facts.context_length > limit:
            raise Refusal(
                f"its {rope['rope_type']} positions depend on the longest row once one has more than {limit} "
                "tokens (a context_length up to that is possible)"
            )


def _cases(loaded: LoadedModel) -> list[Case]:
    cases = []
    for number, (turn, pictures, words, tokens) in enumerate(PLAN):
        prompt = _prompt(loaded, number, pictures, words)
        if prompt is not None and prompt.tokens + tokens <= loaded.facts.context_length:
            cases.append(_alone(loaded, turn, prompt, tokens))
    if len(cases) < 2:
        raise Refusal("no requests to try it with could be made")
    return cases


def _prompt(loaded: LoadedModel, number: int, pictures: int, words: int) -> Prompt | None:
    """Without pictures, or with fewer, where the model's processor wants it so."""
    for count in range(pictures, -1, -1):
        text = " ".join(f"{number * 7 + word}" for word in range(words))
        parts = (*(Image() for _ in range(count)), Text(text=text))
        request = Request(
            model=loaded.model.id,
            messages=(Message(role="user", parts=parts),),
            raw=not loaded.facts.has_chat_template,
        )
        try:
            return loaded.renderer.prompt(request, [_picture(number + at) for at in range(count)])
        except CallerError:
            continue
    return None


def _picture(number: int) -> Picture:
    picture = Pictures.linear_gradient("L").resize((96 + 32 * number, 96))
    return Pictures.merge(
        "RGB", (picture, picture.rotate(90 * number), picture.transpose(Pictures.Transpose.FLIP_LEFT_RIGHT))
    )


def _alone(loaded: LoadedModel, turn: int, prompt: Prompt, tokens: int) -> Case:
    """By `generate()` itself, greedily, to the last token."""
    ends = [id_ for id_ in loaded.end_ids if id_ is not None]
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=tokens,
        do_sample=False,
        num_beams=1,
        suppress_tokens=ends or None,
        return_dict_in_generate=True,
        output_logits=True,
    )
    inputs = loaded.inputs(prompt)
    answer = loaded.network.generate(**inputs, generation_config=config)
    ids = answer.sequences[0, prompt.tokens :].tolist()
    logits = [logits[0] for logits in answer.logits]
    return Case(turn, inputs, config, ids, logits, _middle(loaded, inputs["input_ids"][0].tolist()))


def _middle(loaded: LoadedModel, ids: list[int]) -> int:
    pictures = [at for at, id_ in enumerate(ids) if id_ in loaded.renderer.placeholder_ids]
    return max(1, pictures[len(pictures) // 2] if pictures else len(ids) // 2)


def _crowd(network: Any, cases: Sequence[Case], judge: Judge) -> int:
    """The memory of one token. Raises Refusal at the first difference."""
    batch, waiting, turn, column_bytes = Batch(network, COLUMNS), list(cases), 0, 0
    rows: list[Case] = []
    while rows or waiting:
        for case in [case for case in waiting if case.turn <= turn]:
            waiting.remove(case)
            batch.join(_prefilled(network, case, judge, Seams.NOWHERE))
            rows.append(case)
        if rows:
            _step(batch, rows, judge)
            column_bytes = max(column_bytes, batch.column_bytes)
            _leave(batch, rows)
        turn += 1
    return column_bytes


def _step(batch: Batch, rows: list[Case], judge: Judge) -> None:
    logits = batch.step([case.tokens[case.fed] for case in rows])
    for case, row in zip(rows, logits, strict=True):
        case.fed += 1
        if not judge.same(row, case.logits[case.fed]):
            raise Refusal(f"beside {len(rows) - 1} others its logits are not what they are alone")


def _leave(batch: Batch, rows: list[Case]) -> None:
    for row in range(len(rows) - 1, -1, -1):
        if rows[row].fed == len(rows[row].tokens) - 1:
            batch.leave(row)
            rows[row] = rows[-1]
            rows.pop()


def _prefilled(network: Any, case: Case, judge: Judge, seams: Seams) -> Prefilled:
    prefill = Prefill(network, dict(case.inputs), case.config, seams=seams)
    prefilled = None
    while prefilled is None:
        prefilled = prefill.advance(case.middle)
    if not judge.same(prefilled.logits, case.logits[0]):
        raise Refusal("a prompt's logits are not those of generate()")
    return prefilled


def _seams(network: Any, cases: Sequence[Case], judge: Judge) -> Seams:
    """Bidirectional attention inside a picture, or in the whole prompt, cannot be computed in pieces."""
    for seams in (Seams.ANYWHERE, Seams.AROUND_PICTURES):
        try:
            for case in cases:
                _cut(network, case, judge, seams)
        except (Refusal, RuntimeError, ValueError, TypeError, IndexError):
            continue
        return seams
    return Seams.NOWHERE


def _cut(network: Any, case: Case, judge: Judge, seams: Seams) -> None:
    """Raises Refusal where a prompt in pieces answers otherwise."""
    batch = Batch(network, COLUMNS)
    batch.join(_prefilled(network, case, judge, seams))
    case.fed = 0
    _step(batch, [case], judge)
