"""`python -m training.train`: makes models/tiny's weights from nothing, on one thread.

Killed at any moment it goes on where it was when started again with the same name. The result, a folder any
program of Transformers loads, is NAME/model; nothing is installed in models/ by itself.
"""

import argparse
import logging
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from training.ending import Ending
from training.phase import Budget, run
from training.seeing import Seeing
from training.speaking import Speaking
from training.tokens import new_processor, new_tokenizer

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
RUNS = Path("data/training")
SEEING_STEPS = 4_000
SPEAKING_STEPS = 9_500
ENDING_STEPS = 1_200
SEEING_SHARE = 0.2  # of a budget in minutes


def main() -> None:
    args = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # More threads than free cores made steps 14 times slower.
    torch.set_num_threads(1)
    if args.onward:
        end(RUNS / args.name, args.seed, args.onward, args.minutes)
    else:
        train(RUNS / args.name, args.seed, args.minutes)


def train(folder: Path, seed: int, minutes: float | None) -> None:
    seeing, speaking = _budgets(minutes)
    run(Seeing(seed), seeing, folder)
    tokenizer = _tokenizer(folder / "tokenizer")
    phase = Speaking(seed, tokenizer, torch.load(folder / f"{Seeing.name}.pt", weights_only=True))
    run(phase, speaking, folder)
    save(phase, tokenizer, folder / "model")


def end(folder: Path, seed: int, model: Path, minutes: float | None) -> None:
    phase = Ending(seed, model)
    run(phase, Budget(ENDING_STEPS, minutes), folder)
    save(phase.speaking, phase.tokenizer, folder / "model")


def _budgets(minutes: float | None) -> tuple[Budget, Budget]:
    if minutes is None:
        return Budget(SEEING_STEPS), Budget(SPEAKING_STEPS)
    first = minutes * SEEING_SHARE
    return Budget(SEEING_STEPS, first), Budget(SPEAKING_STEPS, minutes - first)


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Kept beside the checkpoints, whose embeddings depend on its token ids."""
    if not folder.exists():
        new_tokenizer().save_pretrained(folder)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer


def save(phase: Speaking, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """In bfloat16: half the size, and the answers are the same."""
    new_processor(tokenizer, TEMPLATE).save_pretrained(folder)
    phase.model.bfloat16().save_pretrained(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="tiny", help=f"the run's folder under {RUNS}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--onward", type=Path, metavar="MODEL", help="only the end, once more, from its weights"
    )
    parser.add_argument("--minutes", type=float, help="train so long instead of a number of steps")
    return parser.parse_args()


if __name__ == "__main__":
    main()
