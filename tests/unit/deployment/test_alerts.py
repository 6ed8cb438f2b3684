"""What wakes people, and what they look at then, names only what there is; each alert rings for what it says.

Needs promtool (Debian: `apt install prometheus`) for the rules themselves.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.metrics import ALERTS, known_names, names_in, panels, rules, shown
from tests.support.service import ROOT

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool on this machine")
HEADING = re.compile(r"^## (\w+)$", re.MULTILINE)


def _promtool(*arguments: str) -> None:
    done = subprocess.run([str(PROMTOOL), *arguments], cwd=ALERTS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_board_and_the_alerts_ask_for_nothing_that_nobody_tells() -> None:
    asked = {
        name
        for expression in [*shown(), *(rule["expr"] for rule in rules())]
        for name in names_in(expression)
    }
    assert asked - known_names() == set()


def test_every_alert_has_a_page_for_the_night_and_every_page_its_alert() -> None:
    headings = set(HEADING.findall((ROOT / "docs/runbook.md").read_text(encoding="utf-8")))
    alerts = {rule["alert"]: rule for rule in rules() if "alert" in rule}
    assert headings == alerts.keys()
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_no_two_panels_of_the_board_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


@needs_promtool
def test_the_board_says_what_is_broken_while_the_store_is_away_and_tells_nothing_else(tmp_path: Path) -> None:
    (broken,) = (panel["targets"][0]["expr"] for panel in panels() if panel["title"] == "Broken")
    asked = {
        "expr": broken.replace("$model", ".*"),
        "eval_time": "1m",
        "exp_samples": [{"labels": "{}", "value": 1}],
    }
    away = {"series": "sightline_store_up", "values": "0 0"}
    tests = [{"interval": "1m", "input_series": [away], "promql_expr_test": [asked]}]
    (tmp_path / "board.yml").write_text(yaml.safe_dump({"tests": tests}), encoding="utf-8")
    _promtool("test", "rules", str(tmp_path / "board.yml"))


@needs_promtool
def test_prometheus_can_read_the_rules_and_the_example() -> None:
    _promtool("check", "rules", "alerts.yml")
    _promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_each_alert_rings_for_what_it_says_and_no_sooner() -> None:
    _promtool("test", "rules", "alerts.test.yml")
    tried = set(
        re.findall(r"alertname: (\w+)", (ALERTS.parent / "alerts.test.yml").read_text(encoding="utf-8"))
    )
    assert tried == {rule["alert"] for rule in rules() if "alert" in rule}
