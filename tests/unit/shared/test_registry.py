"""What is served: the file's rows, and what was added and removed since; neither hides the other."""

import json
from dataclasses import replace

import pytest

from shared.models import Model, Models
from shared.registry import Registry, added
from shared.store.models import Registrations

FIRST, SECOND, NEW = (Model(id=f"org/{name}", engine="echo") for name in ("first", "second", "new"))


def found(*rows: Model, removed: tuple[Model, ...] = ()) -> Registrations:
    written = {row.lane: row.model_dump_json(exclude_defaults=True) for row in rows}
    return Registrations(written, frozenset(model.lane for model in removed), {})


@pytest.fixture
def registry() -> Registry:
    return Registry(Models((FIRST, SECOND)))


def served(registry: Registry) -> list[str]:
    return [model.id for model in registry.models.rows]


def test_a_row_of_the_file_is_not_changed_from_outside(registry: Registry) -> None:
    other = FIRST.model_copy(update={"rows": 9})
    registry.take(found(other))
    assert registry.models.resolve("org/first") == FIRST
    assert not registry.agrees(other)
    assert registry.agrees(FIRST.model_copy(update={"source": "elsewhere"})), (
        "each machine has its own folders"
    )


def test_an_id_that_shares_another_one_s_queue_is_refused(registry: Registry) -> None:
    registry.take(found(NEW))
    assert not registry.agrees(Model(id="ORG/New", engine="echo"))
    assert registry.agrees(NEW)


def test_a_row_of_a_newer_release_hides_no_other(registry: Registry) -> None:
    rows = {"model.org--newer": json.dumps({"id": "org/newer", "colour": "blue"})}
    registry.take(replace(found(NEW), rows=found(NEW).rows | rows))
    assert served(registry) == ["org/first", "org/second", "org/new"]


def test_a_worker_finds_a_row_that_its_file_does_not_have() -> None:
    assert added(found(NEW, removed=(NEW,))).resolve("org/new") == NEW
