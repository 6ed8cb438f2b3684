"""Reading `deploy/kubernetes` without kustomize, as far as ours use its language."""

from functools import reduce
from itertools import product
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from tests.support.snippets import ROOT

FOLDER = ROOT / "deploy/kubernetes"
Resource = dict[str, Any]


def documents(path: Path) -> list[Resource]:
    return [dict(row) for row in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def kustomization(folder: Path) -> Resource:
    (only,) = documents(folder / "kustomization.yaml")
    return only


def built(folder: Path) -> list[Resource]:
    """What `kubectl kustomize` makes of a folder. Raises ValueError where a patch meets no resource."""
    rule = kustomization(folder)
    found: list[Resource] = []
    for name in rule.get("resources", []):
        path = folder / name
        found += built(path.resolve()) if path.is_dir() else documents(path)
    found += [_config_map(folder, row) for row in rule.get("configMapGenerator", [])]
    for patch in patches(folder):
        (at,) = [n for n, row in enumerate(found) if _id(row) == _id(patch)]
        found[at] = merged(found[at], patch)
    _suffix_references(folder, rule, found)
    return [_finished(row, rule) for row in found]


def patches(folder: Path) -> list[Resource]:
    rows = kustomization(folder).get("patches", [])
    texts = [row["patch"] if "patch" in row else (folder / row["path"]).read_text("utf-8") for row in rows]
    return [dict(yaml.safe_load(text)) for text in texts]


def merged(old: Any, new: Any) -> Any:
    """A strategic merge: lists of things with names by name, null takes away, all else is replaced."""
    if isinstance(old, dict) and isinstance(new, dict):
        both = old | {key: merged(old.get(key), value) for key, value in new.items()}
        return {key: value for key, value in both.items() if value is not None}
    if isinstance(old, list) and all(isinstance(row, dict) and "name" in row for row in [*old, *new]):
        rows = {row["name"]: row for row in old}
        return list((rows | {row["name"]: merged(rows.get(row["name"]), row) for row in new}).values())
    return new


def pod(resource: Resource) -> Resource | None:
    """The pod's spec in a resource that starts pods."""
    template = resource["spec"].get("template") if "spec" in resource else None
    return dict(template["spec"]) if template else None


def _id(resource: Resource) -> tuple[str, str]:
    return resource["kind"], resource["metadata"]["name"]


def _config_map(folder: Path, row: Resource) -> Resource:
    data = {name: (folder / name).read_text("utf-8") for name in row.get("files", [])}
    for name in row.get("envs", []):
        lines = (folder / name).read_text("utf-8").splitlines()
        data |= dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": row["name"]}, "data": data}


def _suffix_references(folder: Path, rule: Resource, found: list[Resource]) -> None:
    """Adds the suffix where, by `configurations`, one resource names another."""
    named = {_id(row) for row in found}
    files = [documents(folder / name)[0] for name in rule.get("configurations", [])]
    for reference in (one for file in files for one in file["nameReference"]):
        for field, row in product(reference["fieldSpecs"], found):
            *way, last = field["path"].split("/")
            if row["kind"] == field["kind"]:
                holder = reduce(getitem, way, row)
                if (reference["kind"], holder[last]) in named:
                    holder[last] += rule["nameSuffix"]


def _finished(resource: Resource, rule: Resource) -> Resource:
    """With the folder's suffix, labels, namespace and images."""
    meta = resource["metadata"]
    if resource["kind"] != "Namespace":
        meta = meta | {"name": meta["name"] + rule.get("nameSuffix", "")}
        meta |= {"namespace": rule["namespace"]} if "namespace" in rule else {}
    resource = resource | {"metadata": meta}
    for row in rule.get("labels", []):
        resource = _labelled(resource, row["pairs"])
    for image in rule.get("images", []):
        for container in (pod(resource) or {"containers": []})["containers"]:
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return resource


def _labelled(resource: Resource, pairs: dict[str, str]) -> Resource:
    """Puts labels on the resource, its pods and every selector of them."""
    selecting = {"matchLabels": pairs}
    given: Resource = {"metadata": {"labels": pairs}}
    if resource["kind"] in ("Deployment", "PodDisruptionBudget"):
        given["spec"] = {"selector": selecting}
    if (inner := pod(resource)) is not None:
        spread = [merged(row, {"labelSelector": selecting}) for row in inner["topologySpreadConstraints"]]
        given["spec"]["template"] = {
            "metadata": {"labels": pairs},
            "spec": {"topologySpreadConstraints": spread},
        }
    return dict(merged(resource, given))
