"""What versions of Kubernetes accept, by the schemas in `kubernetes_validate`.

Its own `validate` reads all definitions of a version anew for each manifest, which takes a second.
"""

import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from kubernetes_validate import latest_version
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

NEWEST = latest_version().removesuffix(".0")


def check(manifest: dict[str, Any], version: str) -> None:
    """Raises jsonschema.ValidationError, also for a field that is unknown."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", manifest["apiVersion"])
    schema = _schema(version, f"{manifest['kind'].lower()}-{group}")
    Draft202012Validator(schema, registry=_definitions(version)).validate(manifest)


@cache
def _definitions(version: str) -> Registry[Any]:
    resource: Resource[Any] = Resource.from_contents(_schema(version, "_definitions"))
    return (resource @ Registry()).crawl()


def _schema(version: str, name: str) -> Any:
    return schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/{name}.json", version)
