"""`python -m training.evaluate`: the held-out table of a model, as JSON, markdown and a contact sheet."""

import argparse
import json
import logging
from pathlib import Path

import torch

from training.asking import Asker, messages
from training.cases import MAKERS, cases
from training.contact import Answered, sheet
from training.table import KNOWN, PHRASINGS, UNSEEN, Row, Table, as_json, as_markdown

log = logging.getLogger("training")

SHOWN = 3  # cards of the contact sheet per row and phrasing
ONE_PHRASING = {"guides": KNOWN, "outside": UNSEEN}


def main() -> None:
    args = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    table, shown = evaluate(Asker(args.model), args.pictures)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.json").write_text(json.dumps(as_json(table), indent=1, ensure_ascii=False) + "\n")
    (args.out / "table.md").write_text(as_markdown(table))
    sheet(shown).save(args.out / "contact.png", optimize=True)
    print(as_markdown(table))


def evaluate(asker: Asker, pictures: int) -> tuple[Table, list[Answered]]:
    table: Table = {}
    shown: list[Answered] = []
    for kind in MAKERS:
        phrasings = [ONE_PHRASING[kind]] if kind in ONE_PHRASING else PHRASINGS
        table[kind] = {phrasing: Row() for phrasing in phrasings}
        for phrasing, row in table[kind].items():
            shown += _fill(row, asker, kind, phrasing == UNSEEN, pictures)
            log.info("%s, %s: %.3f", kind, phrasing, row.all.share)
    return table, shown


def _fill(row: Row, asker: Asker, kind: str, unseen: bool, pictures: int) -> list[Answered]:
    answered: list[Answered] = []
    for case in cases(kind, unseen, pictures):
        answer = asker.answer(messages(case), case.begun)
        row.add(case.group, case.asked[-1].question, case.answer, answer)
        if len(answered) < SHOWN:
            answered.append(Answered(case, answer))
    return answered


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=Path("models/tiny"))
    parser.add_argument("--pictures", type=int, default=1000, help="per type and phrasing")
    parser.add_argument("--out", type=Path, default=Path("data/training/held-out"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
