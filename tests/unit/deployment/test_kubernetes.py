"""The manifests are what docs/kubernetes.md says: read without a cluster, which no test has."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cluster import NEWEST, check
from tests.support.kubernetes import FOLDER, Resource, built, kustomization, patches
from tests.support.manifests import (
    ALL,
    INSTALLATIONS,
    OURS,
    RESOURCES,
    WORKLOADS,
    container,
    environment,
    known,
    of_kind,
    selects,
    spec,
    target,
)
from tests.support.snippets import ROOT

OLDEST = "1.31"
"""The first version that knows all that is used; docs/kubernetes.md names it."""
PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
COMMANDS = [line[2:] for line in PAGE.splitlines() if line.startswith("$ ")]
CORE = [given for given in RESOURCES if given[1]["kind"] != "ScaledObject"]
FOLDERS = sorted(path.parent for path in FOLDER.rglob("kustomization.yaml"))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(("installation", "resource"), known(CORE))
def test_a_cluster_accepts_every_manifest(installation: str, resource: Resource, version: str) -> None:  # noqa: ARG001
    check(resource, version)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_no_manifest_lies_about_that_no_kustomization_names(folder: Path) -> None:
    rule = kustomization(folder)
    assert (rule["apiVersion"], rule["kind"]) == ("kustomize.config.k8s.io/v1beta1", "Kustomization")
    named = [*rule["resources"], *(row["path"] for row in rule.get("patches", []) if "path" in row)]
    named += rule.get("configurations", [])
    for row in rule.get("configMapGenerator", []):
        named += row.get("files", []) + row.get("envs", [])
    assert [name for name in named if not (folder / name).exists()] == []
    files = {path.name for path in folder.iterdir() if path.is_file()} - {"kustomization.yaml"}
    assert files == {name for name in named if (folder / name).is_file()}
    assert {patch["kind"] for patch in patches(folder)} <= {"Deployment"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl command here")
@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_kubectl_itself_makes_the_same_of_the_folders(installation: str) -> None:
    argv = [str(shutil.which("kubectl")), "kustomize", str(FOLDER / installation)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = [_ordered(row) for row in yaml.safe_load_all(done.stdout)]
    ours = [_ordered(row) for row in ALL[installation]]
    assert sorted(theirs, key=_name) == sorted(ours, key=_name)


def _name(resource: Resource) -> str:
    return f"{resource['kind']} {resource['metadata']['name']}"


def _ordered(node: Any) -> Any:
    """With lists of things that have names in the order of these: a merge keeps no order."""
    if isinstance(node, dict):
        return {key: _ordered(value) for key, value in node.items()}
    if isinstance(node, list):
        rows = [_ordered(row) for row in node]
        named = all(isinstance(row, dict) and "name" in row for row in rows)
        return sorted(rows, key=lambda row: row["name"]) if named else rows
    return node


def test_the_page_tells_how_to_make_every_secret_and_none_is_in_a_manifest() -> None:
    wanted = set()
    for _, resource in WORKLOADS:
        for row in container(resource)["env"]:
            if reference := row.get("valueFrom", {}).get("secretKeyRef"):
                assert reference["name"] == "sightline"
                if reference.get("optional"):
                    assert (target(resource), reference["key"]) == ("worker", "HF_TOKEN")
                    assert f"`{reference['key']}`" in PAGE
                else:
                    wanted.add(reference["key"])
    (making,) = [command for command in COMMANDS if "create secret generic sightline" in command]
    assert wanted == set(re.findall(r"([A-Z_]+)=(?:%s|redis)", making))
    assert [row for _, row in RESOURCES if row["kind"] == "Secret"] == []


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_services_budgets_and_network_rules_mean_pods_that_are_there(installation: str) -> None:
    pods = [row for name, row in WORKLOADS if name == installation]
    for row in pods:
        assert selects(row["spec"]["selector"], row)
        for spread in spec(row).get("topologySpreadConstraints", []):
            assert selects(spread["labelSelector"], row)
    for row in ALL[installation]:
        rule = row.get("spec", {})
        if row["kind"] == "Service":
            (meant,) = [one for one in pods if selects({"matchLabels": rule["selector"]}, one)]
            ports = {port["name"] for port in container(meant)["ports"]}
            assert {port["targetPort"] for port in rule["ports"]} <= ports
        elif row["kind"] == "PodDisruptionBudget":
            assert len([one for one in pods if selects(rule["selector"], one)]) == 1
        elif row["kind"] == "NetworkPolicy":
            assert [one for one in pods if selects(rule["podSelector"], one)]


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_every_process_reaches_the_records_and_only_the_courier_any_port_of_the_web(
    installation: str,
) -> None:
    rules = of_kind(installation, "NetworkPolicy")
    assert rules["nothing"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    pods = [row for name, row in OURS if name == installation]
    assert all(selects(rules["to-records"]["spec"]["podSelector"], row) for row in pods)
    wide = {
        target(row)
        for rule in rules.values()
        for way in rule["spec"].get("egress", [])
        for row in pods
        if "ports" not in way and selects(rule["spec"]["podSelector"], row)
    }
    assert wide == {"courier"}


def test_workers_are_scaled_by_the_line_of_their_own_model() -> None:
    (scaler,) = of_kind("fleet", "ScaledObject").values()
    worker = of_kind("fleet", "Deployment")[scaler["spec"]["scaleTargetRef"]["name"]]
    assert "replicas" not in worker["spec"]
    trigger, loading = scaler["spec"]["triggers"]
    model = environment("fleet", worker)["SIGHTLINE_WORKER__MODEL"]
    assert trigger["type"] == "prometheus"
    assert trigger["metadata"]["query"] == f'max(sightline_backlog{{model="{model}"}})'
    assert "| `sightline_backlog` | `model` |" in (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    text = of_kind("fleet", "ConfigMap")["models"]["data"]["models.toml"]
    (rows,) = re.findall(rf'id = "{model}"\n(?:.+\n)*?rows = (\d+)', text)
    assert int(trigger["metadata"]["threshold"]) == 2 * int(rows)
    assert all(isinstance(value, str) for row in (trigger, loading) for value in row["metadata"].values())
    assert f'model="{model}", state="loading"' in loading["metadata"]["query"]
    bounds = scaler["spec"]
    assert bounds["minReplicaCount"] == 0
    assert bounds["minReplicaCount"] <= bounds["fallback"]["replicas"] <= bounds["maxReplicaCount"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool on this machine")
@pytest.mark.parametrize(
    ("backlog", "loading", "wanted"),
    [
        pytest.param(0, 0, (0, 0), id="nobody asks"),
        pytest.param(1, 0, (1, 0), id="one call was refused"),
        pytest.param(1, 2, (1, 3), id="two of three load for it"),
        pytest.param(0, 2, (0, 0), id="they load and nobody waits"),
    ],
)
def test_one_row_wakes_a_model_without_workers_and_keeps_those_that_load(
    backlog: int, loading: int, wanted: tuple[int, int], tmp_path: Path
) -> None:
    """More than 0 of any trigger is what KEDA starts the first worker for."""
    (scaler,) = of_kind("fleet", "ScaledObject").values()
    assert not [row for row in scaler["spec"]["triggers"] if "activationThreshold" in row["metadata"]]
    model = 'model="Qwen/Qwen2.5-VL-3B-Instruct"'
    told = {
        f"sightline_backlog{{{model}}}": backlog,
        f'sightline_workers{{{model}, state="loading"}}': loading,
        f'sightline_workers{{{model}, state="ready"}}': int(loading > 0),
    }
    asked = [
        {
            "expr": f"sum({row['metadata']['query']})",
            "eval_time": "1m",
            "exp_samples": [{"labels": "{}", "value": value}],
        }
        for row, value in zip(scaler["spec"]["triggers"], wanted, strict=True)
    ]
    series = [{"series": name, "values": f"{value} {value}"} for name, value in told.items()]
    tests = {"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": asked}]}
    (tmp_path / "scaling.yml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    argv = [str(shutil.which("promtool")), "test", "rules", str(tmp_path / "scaling.yml")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_model_on_gpus_is_scaled_by_a_scaler_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "kubernetes"
    shutil.copytree(FOLDER, folder)
    shutil.copytree(folder / "models/gpu", folder / "models/big")
    for name, old, new in (
        ("models/big/kustomization.yaml", "-gpu\n", "-big\n"),
        ("models/big/kustomization.yaml", "sightline-model: gpu", "sightline-model: big"),
        ("fleet/kustomization.yaml", "  - ../models/gpu\n", "  - ../models/gpu\n  - ../models/big\n"),
    ):
        text = (folder / name).read_text("utf-8")
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    rows = built(folder / "fleet")
    scaled = {
        row["metadata"]["name"]: row["spec"]["scaleTargetRef"]["name"]
        for row in rows
        if row["kind"] == "ScaledObject"
    }
    assert scaled == {"worker-gpu": "worker-gpu", "worker-big": "worker-big"}
    workers = {row["metadata"]["name"] for row in rows if row["kind"] == "Deployment"}
    assert workers == {"api", "courier", *scaled.values()}


def test_spans_reach_a_collector_by_the_rule_of_the_page() -> None:
    (text,) = re.findall(r"```yaml\n(apiVersion: networking.*?)```", PAGE, re.DOTALL)
    rule = yaml.safe_load(text)
    check(rule, OLDEST)
    assert all(selects(rule["spec"]["podSelector"], row) for _, row in OURS)
    assert {port["port"] for way in rule["spec"]["egress"] for port in way["ports"]} == {4318}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("kubectl")])
def test_a_command_of_the_page_names_folders_and_objects_that_are_there(command: str) -> None:
    words = shlex.split(command, comments=True)
    if "-k" in words:
        assert (ROOT / words[words.index("-k") + 1] / "kustomization.yaml").exists()
    named = {word for word in words if re.fullmatch(r"(deployment|service|statefulset)/[\w-]+", word)}
    there = {f"{row['kind'].lower()}/{row['metadata']['name']}" for _, row in RESOURCES}
    assert named <= there
