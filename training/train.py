"""`python -m training.train`: makes models/tiny's weights from nothing, on one thread.

Killed at any moment it resumes where it was when started again with the same name. The result, a folder any
program of Transformers loads, is NAME/model; nothing is installed in models/ by itself.
"""

import argparse
import logging
import random
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from training import model
from training.dataset import NO_ANSWER, POOL, Batch, Dataset, texts
from training.drawing import draw_scene
from training.patches import PatchProbe
from training.trainer import Optimiser, learn, run

RUNS = Path("data/training")
TOKENIZER_CONVERSATIONS = 12_000
SEEING_STEPS = 4_000
SPEAKING_STEPS = 9_500
ENDING_STEPS = 1_200


class Seeing:
    """The first phase: the vision tower alone learns what each of its patches shows."""

    name = "seeing"
    BATCH = 64
    # Characters are the hardest to tell apart: far more texts than any question would need.
    KINDS = {"single": 0.20, "several": 0.22, "count": 0.15, "text": 0.42, "empty": 0.01}  # noqa: RUF012

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self._seed = seed
        self.tower, self.probe = model.new_vision_tower(), PatchProbe()
        self.optimiser = Optimiser(self.tower, self.probe)
        self.parts = {"eye": self.tower, "probe": self.probe, "optimiser": self.optimiser}

    def step(self, number: int, done: float) -> dict[str, float]:
        rng = random.Random(f"{self.name} {self._seed} {number}")
        kinds = rng.choices(list(self.KINDS), list(self.KINDS.values()), k=self.BATCH)
        scenes = [draw_scene(rng, kind) for kind in kinds]
        with torch.autocast("cpu", torch.bfloat16):
            features = model.tower_features(self.tower, rng, scenes)
        loss = self.probe(features, scenes)
        learn(loss, number, max(0.3, min(1.0, (1 - done) * 4)), self.optimiser)
        return {"loss": loss.item()}


class Speaking:
    """The second phase: vision tower, projector and language model learn to answer together.

    The loss is taken on the answers only. The tower rests at first and learns more slowly afterwards, and the
    probe's loss is added for most of the way: both keep what the first phase taught.
    """

    name = "speaking"
    BATCH = 32
    TOWER_RATE = 0.4
    TOWER_RESTS = 0.08
    PROBE_WEIGHT = 0.5
    PROBE_UNTIL = 0.7
    FALL_FROM = 0.4  # the rates fall in a line from here

    def __init__(self, seed: int, tokenizer: PreTrainedTokenizerFast) -> None:
        torch.manual_seed(seed)
        self._seed = f"{self.name} {seed}"
        self.model, self.probe = model.new_model(), PatchProbe()
        inner = self.model.model
        self.tower = inner.vision_tower
        self.tower_optimiser = Optimiser(self.tower, self.probe, scale=self.TOWER_RATE)
        self.optimiser = Optimiser(inner.language_model, inner.multi_modal_projector)
        self.parts = {"model": self.model, "probe": self.probe, "optimiser": self.optimiser}
        self.parts["eye_optimiser"] = self.tower_optimiser
        self._image = model.token_id(tokenizer, model.IMAGE)
        self._dataset = Dataset(tokenizer)
        self._pool: tuple[int, list[Batch]] = (-1, [])

    def step(self, number: int, done: float) -> dict[str, float]:
        batch, rng = self._batch(number), random.Random(f"{self._seed} noise {number}")
        rests = done < self.TOWER_RESTS
        with torch.autocast("cpu", torch.bfloat16):
            with torch.set_grad_enabled(not rests):
                features = model.tower_features(self.tower, rng, batch.scenes) if batch.scenes else None
            logits, truth = self._answer(batch, features)
        loss = F.cross_entropy(logits.float(), truth)
        right = (logits.argmax(-1) == truth).float().mean().item()
        numbers = {"loss": loss.item(), "tokens right": right}
        probe_weight = self.PROBE_WEIGHT * max(0.0, 1 - done / self.PROBE_UNTIL)
        if probe_weight and features is not None:
            loss = loss + probe_weight * self.probe(features, batch.scenes)
        rate = max(0.02, min(1.0, (1 - done) / (1 - self.FALL_FROM)))
        learn(loss, number, rate, self.optimiser, *([] if rests else [self.tower_optimiser]))
        return numbers

    def _batch(self, number: int) -> Batch:
        pool, place = divmod(number, POOL)
        if self._pool[0] != pool:
            self._pool = pool, self._dataset.pool(random.Random(f"{self._seed} pool {pool}"), self.BATCH)
        return self._pool[1][place]

    def _answer(self, batch: Batch, features: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the answers' tokens, and those tokens."""
        inputs = self.model.get_input_embeddings()(batch.tokens)
        if features is not None:
            images = self.model.model.multi_modal_projector(features).to(inputs.dtype)
            inputs = inputs.masked_scatter(batch.tokens.eq(self._image).unsqueeze(-1), images)
        hidden = self.model.model.language_model(inputs_embeds=inputs, use_cache=False).last_hidden_state
        following = batch.answers[:, 1:]
        answered = following != NO_ANSWER
        return self.model.lm_head(hidden[:, :-1][answered]), following[answered]


class Ending(Speaking):
    """The second phase's last quarter once more, from finished weights.

    This teaches a longer list of questions in a quarter of an hour instead of two hours. The optimiser's
    state is not among the weights: it starts from nothing, at rates that have fallen already.
    """

    SINCE = 0.75
    FIRST_STEP = 400_000  # beyond the steps of every earlier run, so that all questions are new

    def __init__(self, seed: int, tokenizer: PreTrainedTokenizerFast, weights: Path) -> None:
        super().__init__(seed, tokenizer)
        self.name = "ending"
        # The probe stays untrained, which does no harm: this late its loss is off.
        finished = LlavaForConditionalGeneration.from_pretrained(weights, dtype=torch.float32)
        self.model.load_state_dict(finished.state_dict())

    def step(self, number: int, done: float) -> dict[str, float]:
        return super().step(self.FIRST_STEP + number, self.SINCE + (1 - self.SINCE) * done)


def train(folder: Path, seed: int) -> None:
    seeing = Seeing(seed)
    run(seeing, SEEING_STEPS, folder)
    tokenizer = _tokenizer(folder / "tokenizer")
    phase = Speaking(seed, tokenizer)
    phase.tower.load_state_dict(seeing.tower.state_dict())
    phase.probe.load_state_dict(seeing.probe.state_dict())
    run(phase, SPEAKING_STEPS, folder)
    save(phase, tokenizer, folder / "model")


def train_onward(folder: Path, seed: int, weights: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(weights)
    phase = Ending(seed, tokenizer, weights)
    run(phase, ENDING_STEPS, folder)
    save(phase, tokenizer, folder / "model")


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Stored with the checkpoints, whose embeddings depend on its token ids."""
    if not folder.exists():
        model.new_tokenizer(texts(TOKENIZER_CONVERSATIONS)).save_pretrained(folder)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer


def save(phase: Speaking, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """In bfloat16: half the size, and the answers are the same."""
    model.new_processor(tokenizer).save_pretrained(folder)
    phase.model.bfloat16().save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="tiny", help=f"the run's folder under {RUNS}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--onward", type=Path, metavar="MODEL", help="repeat the end, from its weights")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # More threads than free cores made steps 14 times slower.
    torch.set_num_threads(1)
    if args.onward:
        train_onward(RUNS / args.name, args.seed, args.onward)
    else:
        train(RUNS / args.name, args.seed)


if __name__ == "__main__":
    main()
