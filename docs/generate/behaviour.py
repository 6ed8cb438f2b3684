"""The page that says how each call is answered, from the rows that tests/routes/test_behaviour.py makes."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "reference" / "behaviour.toml"

USUAL = {
    "a worker is ready",
    "a worker answers",
    "no worker lives",
    "the job waits",
    "the file is kept",
    "the batch is under way",
    "there is a webhook",
    "there is a webhook, and a job has ended",
    "the response waits",
    "keys are asked for",
}
"""The usual state, not repeated behind what a call holds."""
CACHED = ("HIT", "COALESCED", "BYPASS")

Rows = dict[tuple[str, str, str], list[str]]


def read() -> dict[str, Any]:
    """The page's `head`; each `section` with its rows as lines, and its text if it is on the page."""
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


def cells(section: dict[str, Any]) -> Iterator[list[str]]:
    """The six columns of each row: call, with, when, status, body, headers."""
    for line in section["rows"].splitlines():
        yield [cell.strip() for cell in line.strip("|").split("|")]


def page() -> str:
    found = read()
    shown = (_section(section) for section in found["section"] if "text" in section)
    return str(found["head"]) + "".join(shown)


def _section(section: dict[str, Any]) -> str:
    table, last = "", ""
    for (call, status, answer), cases in _together(section).items():
        shown = call if call != last else ""
        table += f"| {shown} | {status} | {answer} | {'; '.join(cases)} |\n"
        last = call
    head = "| call | status | answer | when |\n| --- | --- | --- | --- |\n"
    return f"\n## {section['title']}\n\n{section['text']}\n{head}{table}"


def _together(section: dict[str, Any]) -> Rows:
    """The rows of one call that are answered alike, as one; without what the head says of all calls."""
    found: dict[str, Rows] = {}
    for call, said, when, status, body, headers in cells(section):
        case = said if said and when in USUAL else ", ".join(filter(None, (said, when)))
        case += "".join(f" (`{name}`)" for name in CACHED if f"x-cache: {name}" in headers)
        cases = found.setdefault(call, {}).setdefault((call, status, _answer(body)), [])
        if not (_of_all_calls(said, status, body) or case in cases or (when in cases and "(" not in case)):
            cases.append(case)
    groups = ((key, cases) for rows in found.values() for key, cases in rows.items())
    return {key: cases for key, cases in groups if cases and not _usual(key, cases)}


def _usual(key: tuple[str, str, str], cases: list[str]) -> bool:
    """Whether a call is taken in the usual state, and nothing more is known of it."""
    _, status, answer = key
    return status.startswith("2") and "no_worker" not in answer and all(case in USUAL for case in cases)


def _of_all_calls(said: str, status: str, body: str) -> bool:
    """A thing that is not there, a store out of reach, a wrong value in a query."""
    code, wrong = body.partition(",")[0], said.startswith("`?") and status == "400"
    return wrong or code.endswith("_not_found`") or code == "`store_unavailable`"


def _answer(body: str) -> str:
    """An error's code, or the type and a job's status; most of what else a test looks for is left out."""
    words, *more = body.split(", ")
    if words == "what is known":
        return ", ".join(more[:2])
    return ", ".join((words, *more[:1])) if words in ("the job", "the response", "the batch") else words
