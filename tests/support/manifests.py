"""What `deploy/kubernetes` builds, installation by installation, and how tests look into it."""

from typing import Any

import pytest

from tests.support.containers import Dockerfile
from tests.support.kubernetes import FOLDER, Resource, built, pod
from tests.support.snippets import ROOT

DOCKERFILE = Dockerfile(ROOT / "Dockerfile")
INSTALLATIONS = ("small", "fleet")
ALL: dict[str, list[Resource]] = {name: built(FOLDER / name) for name in INSTALLATIONS}


def known(rows: list[tuple[str, Resource]]) -> list[Any]:
    """As cases with names."""
    return [pytest.param(*row, id=f"{row[0]}-{row[1]['kind']}-{row[1]['metadata']['name']}") for row in rows]


RESOURCES = [(name, row) for name, rows in ALL.items() for row in rows]
WORKLOADS = [given for given in RESOURCES if pod(given[1]) is not None]
OURS = [given for given in WORKLOADS if given[1]["metadata"]["name"] != "redis"]


def of_kind(installation: str, kind: str) -> dict[str, Resource]:
    return {row["metadata"]["name"]: row for row in ALL[installation] if row["kind"] == kind}


def spec(resource: Resource) -> Resource:
    found = pod(resource)
    assert found is not None
    return found


def container(resource: Resource) -> Resource:
    (only,) = spec(resource)["containers"]
    return dict(only)


def image(resource: Resource) -> str:
    """The name without the registry and the tag."""
    return str(container(resource)["image"]).rpartition("/")[2].partition(":")[0]


def target(resource: Resource) -> str:
    """The stage of the Dockerfile; the image for GPUs is another build of `worker`."""
    return image(resource).removeprefix("sightline-").removesuffix("-gpu")


def environment(installation: str, resource: Resource) -> dict[str, str]:
    """What its process finds, with a stand-in for each secret."""
    given = DOCKERFILE.env(target(resource))
    for source in container(resource)["envFrom"]:
        given |= of_kind(installation, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for row in container(resource)["env"]:
        secret = row.get("valueFrom", {}).get("secretKeyRef", {"key": ""})["key"]
        stand_in = "redis://:secret@redis:6379/0" if secret == "REDIS_URL" else "0123abcd" * 8
        given[row["name"]] = stand_in if secret else row["value"]
    return given


def probes(resource: Resource) -> dict[str, Resource]:
    return {name: row for name, row in container(resource).items() if name.endswith("Probe")}


def selects(selector: Resource, resource: Resource) -> bool:
    wanted = selector.get("matchLabels", {})
    return bool(wanted.items() <= resource["spec"]["template"]["metadata"]["labels"].items())
