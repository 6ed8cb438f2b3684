"""Reading what `/metrics` tells, and what reads it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from shared.metrics import api_counters, courier_counters, decoder_counters, gauges, worker_counters
from shared.metrics.metric_types import DEFINITIONS, REGISTRY
from tests.support.service import ROOT

ALERTS = ROOT / "deploy/prometheus/alerts.yml"
BOARD = ROOT / "deploy/grafana/sightline.json"
OURS = re.compile(r"\b(?:\w+:)*sightline_\w+(?::\w+)*")
SOURCES = (gauges, api_counters, courier_counters, decoder_counters, worker_counters)
"""The modules that declare metrics by being imported."""
PARTS = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def total(page: str, name: str, **labels: str) -> float:
    """The sum of all series of this name that have these labels; None of them is 0."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def labels_of(page: str, name: str) -> list[dict[str, str]]:
    """The labels of all series of this name."""
    families = text_string_to_metric_families(page)
    return [sample.labels for family in families for sample in family.samples if sample.name == name]


def counted(name: str, **labels: str) -> float:
    """What this very process has counted."""
    return sum(
        sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def rules() -> list[dict[str, Any]]:
    """Every alert and every recorded expression."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Those of the board that show something."""
    found = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def shown() -> Iterator[str]:
    """Every expression of the board, as it is asked."""
    for panel in panels():
        for target in panel["targets"]:
            yield filled(target["expr"], "1m")


def filled(expression: str, window: str) -> str:
    """As Grafana asks it for all models, with rates over a window."""
    return expression.replace("$model", ".*").replace("$__rate_interval", window)


def known_names() -> set[str]:
    """All series that there may be, the recorded ones included."""
    told = {declared.name + part for declared in DEFINITIONS.values() for part in PARTS[declared.kind]}
    return told | {rule["record"] for rule in rules() if "record" in rule}


def names_in(expression: str) -> set[str]:
    return set(OURS.findall(expression))


def first_values(reply: Mapping[str, Any]) -> list[float]:
    """The values of an instant query's answer."""
    assert reply["status"] == "success", reply
    return [float(found["value"][1]) for found in reply["data"]["result"]]
