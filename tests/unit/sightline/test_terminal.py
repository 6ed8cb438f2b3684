"""Colour, tables and bars where a person reads; plain text where a script does."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.service import ROOT

Shown = Callable[..., str]
BOXES = "─│╭━"
HOSTILE = """
from sightline.terminal import show_facts, show_table
show_table(("ID", "STATUS"), [("job_1", "failed"), ("[red]job_2[/red]", "\\x1b[2Jgone\\u202e")])
show_facts([("name", "[bold]it[/bold]"), ("none", None)])
"""


def at_a_terminal(*argv: str, **env: str) -> str:
    """All that a terminal shows, with its control characters."""
    ours, theirs = pty.openpty()
    settings = {"TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": "", **env}
    child = subprocess.Popen(
        [sys.executable, *argv],
        cwd=ROOT,
        env=os.environ | settings,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    pieces = []
    try:
        while piece := os.read(ours, 65536):
            pieces.append(piece)
    except OSError:
        # So Linux says that the last writer has gone.
        pass
    os.close(ours)
    child.wait()
    return b"".join(pieces).decode()


def in_a_pipe(*argv: str, **env: str) -> str:
    out, err = subprocess.PIPE, subprocess.STDOUT
    done = subprocess.run([sys.executable, *argv], cwd=ROOT, env=os.environ | env, stdout=out, stderr=err)
    return done.stdout.decode()


@pytest.mark.parametrize("shown", [at_a_terminal, in_a_pipe])
def test_words_of_others_are_neither_markup_nor_commands_to_the_terminal(shown: Shown) -> None:
    text = shown("-c", HOSTILE)
    assert ("[red]job_2[/red]" in text, "[bold]it[/bold]" in text) == (True, True)
    assert ("\x1b[2J" in text, "\u202e" in text, "\ufffd[2Jgone\ufffd" in text) == (False, False, True)


def test_a_person_is_shown_colours_and_a_script_is_not() -> None:
    seen, read = at_a_terminal("-c", HOSTILE), in_a_pipe("-c", HOSTILE)
    assert "\x1b[31mfailed" in seen
    assert "─" in seen
    assert read.splitlines()[:2] == ["ID                STATUS", "job_1             failed"]
    assert not set(read) & set(BOXES + "\x1b")


def test_who_wants_no_colour_or_has_none_is_shown_none() -> None:
    assert "\x1b[31m" not in at_a_terminal("-c", HOSTILE, NO_COLOR="1")
    dumb = at_a_terminal("-c", HOSTILE, TERM="dumb")
    assert not set(dumb) & set(BOXES + "\x1b")


def test_help_is_boxes_for_a_person_and_text_for_a_pager() -> None:
    seen, read = (shown("-m", "sightline", "jobs", "list", "--help") for shown in (at_a_terminal, in_a_pipe))
    assert "╭" in seen
    assert not set(read) & set(BOXES + "\x1b")
    assert ("\b" in seen, "\b" in read) == (False, False)
    assert ("sightline jobs" in seen, "sightline jobs" in read) == (True, True)


def test_help_waits_for_nothing_that_only_the_commands_need() -> None:
    code = "import sys; from sightline.cli import main; main(['--help'])"
    assert in_a_pipe("-c", f"{code}; print({{'httpx', 'pydantic'}} & {{*sys.modules}})").endswith("\nset()\n")


def test_wrong_arguments_are_one_sentence_at_a_terminal_too() -> None:
    seen = at_a_terminal("-m", "sightline", "jobs", "show")
    assert seen == "\x1b[31msightline: Missing argument 'job' (see `sightline jobs show --help`)\x1b[0m\r\n"


@pytest.mark.parametrize(
    ("words", "at", "offered"),
    [
        ("sightline jobs ", 2, "list\nshow\ncancel\nretry\nredeliver\nfollow"),
        ("sightline jobs list --status s", 4, "succeeded"),
        ("sightline keys create --sc", 3, "--scopes"),
    ],
)
def test_a_shell_completes_commands_actions_options_and_their_values(
    words: str, at: int, offered: str
) -> None:
    env = {"_SIGHTLINE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    assert in_a_pipe("-m", "sightline", **env).strip() == offered
