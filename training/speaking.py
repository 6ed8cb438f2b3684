"""The second phase: eye, projector and speaker learn to answer together.

The loss is taken on the answers only. The eye rests at first and learns more slowly afterwards, and the
probe's loss stays beside it for most of the way: both keep what the first phase taught.
"""

import random
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from training.architecture import new_model
from training.optimiser import Optimiser, learn, warmed_up
from training.phase import Stateful
from training.pixels import batch as pictures
from training.probe import Probe
from training.rows import NO_ANSWER, POOL, Batch, Rows
from training.tokens import END, IMAGE, PAD, token_id

BATCH = 32
EYE_RATE = 0.4
EYE_RESTS = 0.08
PROBE_WEIGHT = 0.5
PROBE_UNTIL = 0.7
FALL_FROM = 0.4  # the rates fall in a line from here


class Speaking:
    name = "speaking"

    def __init__(self, seed: int, tokenizer: PreTrainedTokenizerFast, seen: Mapping[str, Any]) -> None:
        """`seen` is the checkpoint of the first phase."""
        torch.manual_seed(seed)
        self._seed = f"{self.name} {seed}"
        self.model, self.probe = model_for(tokenizer), Probe()
        self.eye = self.model.model.vision_tower
        self.eye.load_state_dict(seen["eye"])
        self.probe.load_state_dict(seen["probe"])
        inner = self.model.model
        self.eye_optimiser = Optimiser([(self.eye, EYE_RATE), (self.probe, EYE_RATE)])
        self.optimiser = Optimiser([(inner.language_model, 1.0), (inner.multi_modal_projector, 1.0)])
        self._image = token_id(tokenizer, IMAGE)
        self._rows = Rows(tokenizer)
        self._pool: tuple[int, list[Batch]] = (-1, [])

    def parts(self) -> dict[str, Stateful]:
        return {
            "model": self.model,
            "probe": self.probe,
            "optimiser": self.optimiser,
            "eye_optimiser": self.eye_optimiser,
        }

    def step(self, number: int, done: float) -> dict[str, float]:
        batch, rng = self._batch(number), random.Random(f"{self._seed} noise {number}")
        eye_rests = done < EYE_RESTS
        with torch.autocast("cpu", torch.bfloat16):
            seen = self._see(rng, batch, eye_rests)
            logits, truth = self._answer(batch, seen)
        loss = F.cross_entropy(logits.float(), truth)
        right = (logits.argmax(-1) == truth).float().mean().item()
        told = {"pictures": len(batch.scenes), "loss": loss.item(), "tokens right": right}
        weight = PROBE_WEIGHT * max(0.0, 1 - done / PROBE_UNTIL)
        if weight and seen is not None:
            loss = loss + weight * self.probe(seen, batch.scenes)[0]
        learn(
            loss,
            warmed_up(number, max(0.02, min(1.0, (1 - done) / (1 - FALL_FROM)))),
            *self._optimisers(eye_rests),
        )
        return told

    def _optimisers(self, eye_rests: bool) -> list[Optimiser]:
        return [self.optimiser] if eye_rests else [self.optimiser, self.eye_optimiser]

    def _batch(self, number: int) -> Batch:
        drawn, place = divmod(number, POOL)
        if self._pool[0] != drawn:
            self._pool = drawn, self._rows.pool(random.Random(f"{self._seed} pool {drawn}"), BATCH)
        return self._pool[1][place]

    def _see(self, rng: random.Random, batch: Batch, eye_rests: bool) -> torch.Tensor | None:
        if not batch.scenes:
            return None
        with torch.set_grad_enabled(not eye_rests):
            seen: torch.Tensor = self.eye(
                pictures(rng, batch.scenes), output_hidden_states=True
            ).hidden_states[-1]
        return seen

    def _answer(self, batch: Batch, seen: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the answers' tokens, and those tokens."""
        read = self.model.get_input_embeddings()(batch.tokens)
        if seen is not None:
            projected = self.model.model.multi_modal_projector(seen)
            read = read.masked_scatter(batch.tokens.eq(self._image).unsqueeze(-1), projected.to(read.dtype))
        hidden = self.model.model.language_model(inputs_embeds=read, use_cache=False).last_hidden_state
        following = batch.answers[:, 1:]
        answered = following != NO_ANSWER
        return self.model.lm_head(hidden[:, :-1][answered]), following[answered]


def model_for(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    image, end, pad = (token_id(tokenizer, token) for token in (IMAGE, END, PAD))
    rounded = (len(tokenizer) + 15) // 16 * 16
    return new_model(rounded, image, end, pad)
