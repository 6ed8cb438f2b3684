"""`python -m training.evaluate`: how often a model answers each type of held-out question rightly.

Prints a table in markdown, with the bar that each type must reach. Wrong answers are logged.
"""

import argparse
import logging
from collections import defaultdict
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from training.held_out import MAKERS, cases
from training.model import TINY

log = logging.getLogger("training")

BARS = {
    "color": 0.98,
    "background": 0.98,
    "shape": 0.98,
    "yes/no": 0.98,
    "count": 0.94,
    "where": 0.95,
    "text": 0.92,
    "describe": 0.90,
    "which of two": 0.93,
    "about one of two": 0.88,
    "follow-up": 0.96,
    "outside": 0.99,
    "in a form": 0.95,
}
ONLY_KNOWN, ONLY_UNSEEN = ("guides",), ("outside",)


class Model:
    """A saved model, asked as every user of Transformers does: apply_chat_template, generate, decode."""

    def __init__(self, folder: Path) -> None:
        self._processor: Any = AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
        self._model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)

    def answer(self, messages: list[dict[str, Any]], prefix: str = "") -> str:
        """What follows the `prefix`: in JSON, the value up to its closing mark, or all and "…"."""
        inputs = self._processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        if prefix:
            given = self._processor.tokenizer(prefix, add_special_tokens=False, return_tensors="pt")
            for name, more in given.items():
                inputs[name] = torch.cat([inputs[name], more], dim=-1)
        with torch.inference_mode():
            tokens = self._model.generate(**inputs)
        generated = tokens[0, inputs["input_ids"].shape[1] :]
        text: str = self._processor.decode(generated, skip_special_tokens=True)
        if not prefix:
            return text.strip()
        value, closing, _ = text.partition('"')
        return value if closing else f"{value}…"


def cell(model: Model, kind: str, unseen: bool, pictures: int) -> str:
    """The share of right answers, in all and by group."""
    groups: defaultdict[str, list[bool]] = defaultdict(list)
    for case in cases(kind, unseen, pictures):
        answer = model.answer(case.chat(), case.prefix)
        groups[case.group].append(answer == case.answer)
        if answer != case.answer:
            log.info("%r was answered with %r, not %r", case.question, answer, case.answer)
    shares = ", ".join(f"{name}: {fmean(groups[name]):.2f}" for name in sorted(groups) if name)
    return f"{fmean(chain(*groups.values())):.3f}" + (f" ({shares})" if shares else "")


def table(model: Model, pictures: int) -> str:
    lines = ["| question | bar | known words | unseen words |", "|---|---|---|---|"]
    for kind in MAKERS:
        bar = f"{BARS[kind]:.2f}" if kind in BARS else ""
        known = "" if kind in ONLY_UNSEEN else cell(model, kind, False, pictures)
        unseen = "" if kind in ONLY_KNOWN else cell(model, kind, True, pictures)
        lines.append(f"| {kind} | {bar} | {known} | {unseen} |")
        log.info(lines[-1])
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=TINY)
    parser.add_argument("--pictures", type=int, default=1000, help="per type and phrasing")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    print(table(Model(args.model), args.pictures))


if __name__ == "__main__":
    main()
