"""The finding of one check: a line for people, an object for programs."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Check:
    """`about` is what was checked, `fix` what to do about it; a problem keeps the service from working."""

    about: str
    state: State
    said: str
    fix: str = ""


def ok(about: str, finding: str) -> Check:
    return Check(about, "ok", finding)


def warning(about: str, finding: str, fix: str) -> Check:
    return Check(about, "warning", finding, fix)


def problem(about: str, finding: str, fix: str) -> Check:
    return Check(about, "problem", finding, fix)
