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


def ok(about: str, said: str) -> Check:
    return Check(about, "ok", said)


def warning(about: str, said: str, fix: str) -> Check:
    return Check(about, "warning", said, fix)


def problem(about: str, said: str, fix: str) -> Check:
    return Check(about, "problem", said, fix)
