"""The held-out table: how often each type of question is answered rightly, beside the bar it must reach."""

from dataclasses import dataclass, field
from typing import Any

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
KNOWN, UNSEEN = "known words", "unseen words"
PHRASINGS = (KNOWN, UNSEEN)


@dataclass
class Tally:
    asked: int = 0
    right: int = 0

    def add(self, right: bool) -> None:
        self.asked += 1
        self.right += right

    @property
    def share(self) -> float:
        return self.right / self.asked


@dataclass
class Row:
    """One type of question in one phrasing."""

    all: Tally = field(default_factory=Tally)
    groups: dict[str, Tally] = field(default_factory=dict)
    wrong: list[dict[str, str]] = field(default_factory=list)

    def add(self, group: str, question: str, truth: str, answer: str) -> None:
        right = answer == truth
        self.all.add(right)
        if group:
            self.groups.setdefault(group, Tally()).add(right)
        if not right and len(self.wrong) < 20:
            self.wrong.append({"question": question, "truth": truth, "answer": answer})


Table = dict[str, dict[str, Row]]


def as_json(table: Table) -> dict[str, Any]:
    return {
        kind: {phrasing: _row_as_json(row) for phrasing, row in rows.items()} for kind, rows in table.items()
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    groups = {group: round(tally.share, 4) for group, tally in sorted(row.groups.items())}
    return {"asked": row.all.asked, "right": round(row.all.share, 4), "groups": groups, "wrong": row.wrong}


def as_markdown(table: Table) -> str:
    lines = [f"| question | bar | {' | '.join(PHRASINGS)} |", "|---|---|---|---|"]
    for kind, rows in table.items():
        shares = [_cell(rows.get(phrasing)) for phrasing in PHRASINGS]
        bar = f"{BARS[kind]:.2f}" if kind in BARS else ""
        lines.append(f"| {kind} | {bar} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    groups = ", ".join(f"{group}: {tally.share:.2f}" for group, tally in sorted(row.groups.items()))
    return f"{row.all.share:.3f}" + (f" ({groups})" if groups else "")
