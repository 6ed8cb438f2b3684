"""Pods of `deploy/kubernetes` start, are looked after and stop as the processes in them want it."""

import subprocess
from pathlib import Path

import pytest

from api.routes.health import STORE_LIMIT_S, router
from shared.blobs import REACHED_S
from shared.models_file import load_models
from shared.settings import Settings, load_settings
from sightline.serving import processes
from tests.support.kubernetes import FOLDER, Resource, kustomization
from tests.support.manifests import (
    ALL,
    DOCKERFILE,
    INSTALLATIONS,
    OURS,
    WORKLOADS,
    container,
    environment,
    image,
    known,
    of_kind,
    probes,
    spec,
    target,
)
from tests.support.snippets import ROOT


def settings_of(installation: str, resource: Resource, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment(installation, resource).items():
        if name.startswith("SIGHTLINE_"):
            monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize(("installation", "resource"), known(OURS))
def test_the_environment_of_a_pod_is_one_the_settings_accept(
    installation: str, resource: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(installation, resource, monkeypatch)
    mounts = {row["mountPath"]: row for row in container(resource)["volumeMounts"]}
    assert mounts[str(settings.models_file.parent)]["readOnly"] is True
    assert settings.models_file.name in of_kind(installation, "ConfigMap")["models"]["data"]
    assert "readOnly" not in mounts[settings.blobs.url]
    assert target(resource) == "api" or str(settings.heartbeat_file).startswith("/tmp/")  # noqa: S108
    hub = DOCKERFILE.env(target(resource)).get("HF_HOME")
    assert hub is None or hub in mounts
    # A cluster adds variables of its own otherwise, and an unknown one stops the start.
    assert spec(resource)["enableServiceLinks"] is False


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_callers_behind_an_ingress_are_told_apart_once_its_network_is_named(installation: str) -> None:
    (api,) = [row for name, row in OURS if name == installation and target(row) == "api"]
    assert environment(installation, api)["FORWARDED_ALLOW_IPS"] == "", "no pod chooses its address by itself"


@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_each_model_of_the_installation_has_one_kind_of_worker(installation: str, tmp_path: Path) -> None:
    text = of_kind(installation, "ConfigMap")["models"]["data"]["models.toml"]
    path = tmp_path / "models.toml"
    path.write_text(text.replace("/opt/sightline/", f"{ROOT}/"), encoding="utf-8")
    rows = {model.id: model for model in load_models(path).rows}
    inside = {model.source for model in rows.values() if model.source.startswith("/")}
    assert all((Path(source) / "config.json").exists() for source in inside)
    workers = [row for _, row in OURS if target(row) == "worker" and row in ALL[installation]]
    served = [environment(installation, row)["SIGHTLINE_WORKER__MODEL"] for row in workers]
    assert sorted(served) == sorted(rows)


@pytest.mark.parametrize(("installation", "resource"), known(OURS))
def test_a_pod_runs_the_image_and_the_command_that_the_dockerfile_makes(
    installation: str, resource: Resource
) -> None:
    assert target(resource) in DOCKERFILE.stages
    assert not {"command", "args"} & set(container(resource))
    named = {row["name"] for row in kustomization(FOLDER / installation)["images"]}
    assert image(resource) in named
    assert not container(resource)["image"].endswith(":latest")


@pytest.mark.parametrize(("installation", "resource"), known(WORKLOADS))
def test_probes_ask_for_ports_paths_and_files_that_are_there(installation: str, resource: Resource) -> None:  # noqa: ARG001
    ports = {row["name"]: row["containerPort"] for row in container(resource).get("ports", [])}
    paths = {route.path for route in router.routes if hasattr(route, "path")}
    assert {"startupProbe", "livenessProbe"} <= set(probes(resource))
    for probe in probes(resource).values():
        if "httpGet" in probe:
            assert probe["httpGet"]["path"] in paths
            assert ports[probe["httpGet"]["port"]] == int(DOCKERFILE.last("api", "EXPOSE"))
        elif target(resource) in DOCKERFILE.stages:
            assert DOCKERFILE.env(target(resource))["SIGHTLINE_HEARTBEAT_FILE"] in probe["exec"]["command"][2]


def test_an_outage_of_the_record_store_restarts_no_api() -> None:
    for _, resource in OURS:
        if target(resource) == "api":
            assert {row["httpGet"]["path"] for row in probes(resource).values()} == {"/health"}


def test_while_a_store_hangs_new_apis_start_because_each_probe_gives_health_its_time() -> None:
    for _, resource in OURS:
        if target(resource) == "api":
            patience_s = {name: row.get("timeoutSeconds", 1) for name, row in probes(resource).items()}
            assert min(patience_s.values()) >= max(STORE_LIMIT_S, REACHED_S) + 1, patience_s


@pytest.mark.parametrize(
    ("said", "loading", "ready"), [("loading", True, False), ("ready", True, True), ("gone", True, False)]
)
def test_probes_tell_a_worker_that_loads_from_a_broken_one(
    said: str, loading: bool, ready: bool, tmp_path: Path
) -> None:
    (worker,) = [row for _, row in OURS if row["metadata"]["name"] == "worker-tiny"]
    beat = tmp_path / "heartbeat"
    assert not any(passes(probe, beat) for probe in probes(worker).values())
    beat.write_text(said)
    assert passes(probes(worker)["startupProbe"], beat) == loading
    assert passes(probes(worker)["livenessProbe"], beat) == loading
    assert passes(probes(worker)["readinessProbe"], beat) == ready
    subprocess.run(["touch", "-d", "1 hour ago", beat], check=True)  # noqa: S607
    assert not passes(probes(worker)["livenessProbe"], beat)


def passes(probe: Resource, beat: Path) -> bool:
    argv = [word.replace("/tmp/heartbeat", str(beat)) for word in probe["exec"]["command"]]  # noqa: S108
    return subprocess.run(argv, capture_output=True).returncode == 0


@pytest.mark.parametrize(("installation", "resource"), known(OURS))
def test_a_pod_that_is_stopped_has_time_to_give_its_work_back(installation: str, resource: Resource) -> None:
    roles = {"api": processes.api(Settings(), "0.0.0.0", 8000), "courier": processes.courier(Settings())}  # noqa: S104
    drain_s = float(environment(installation, resource).get("SIGHTLINE_QUEUE__DRAIN_S", 0))
    grace_s = roles[target(resource)].grace_s if target(resource) in roles else Settings().queue.drain_s + 5
    waits = container(resource).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [0, 0])
    assert spec(resource)["terminationGracePeriodSeconds"] > max(grace_s, drain_s) + float(waits[1])
    # As number 1 of its container it would not hear SIGTERM while its model loads.
    assert spec(resource)["shareProcessNamespace"] is True


@pytest.mark.parametrize(("installation", "resource"), known(WORKLOADS))
def test_a_pod_may_write_to_its_volumes_only_and_is_never_root(installation: str, resource: Resource) -> None:
    rules, inside = spec(resource)["securityContext"], container(resource)["securityContext"]
    assert rules["runAsNonRoot"] is True
    assert rules["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside["readOnlyRootFilesystem"] is True
    assert inside["allowPrivilegeEscalation"] is False
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert spec(resource)["automountServiceAccountToken"] is False
    if target(resource) in DOCKERFILE.stages:
        user = f"{rules['runAsUser']}:{rules['runAsGroup']}"
        assert user == DOCKERFILE.last(target(resource), "USER")
    assert "memory" in container(resource)["resources"]["limits"]
    assert {"cpu", "memory"} <= set(container(resource)["resources"]["requests"])
    volumes = [*spec(resource).get("volumes", []), *_claimed(resource)]
    mounts = {row["name"] for row in container(resource)["volumeMounts"]}
    assert mounts == {row["name"] if "name" in row else row["metadata"]["name"] for row in volumes}
    for row in volumes:
        if "persistentVolumeClaim" in row:
            assert row["persistentVolumeClaim"]["claimName"] in of_kind(installation, "PersistentVolumeClaim")
        if "configMap" in row:
            assert row["configMap"]["name"] in of_kind(installation, "ConfigMap")


def _claimed(resource: Resource) -> list[Resource]:
    return list(resource["spec"].get("volumeClaimTemplates", []))
