"""Whatever callers, workers and time do, in any order, the store says what a plain model of it says."""

from typing import cast

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test

from shared.store.script import Store
from tests.store.machine.attempting import Workers
from tests.store.machine.base import Base
from tests.store.machine.callers import Callers
from tests.store.machine.keeping import Upkeep
from tests.store.machine.owners import Owners, Storing
from tests.store.machine.secret_holders import SecretHolders
from tests.store.machine.sharing import Sharing
from tests.support.store import Records

# A history takes seconds; one that fails is made short before it is shown, and that takes minutes.
pytestmark = pytest.mark.timeout(60 * settings().max_examples)


class Everything(Callers, Workers, Upkeep):
    """All rules together, and a look at all there is after each."""

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        self.compare()


def run(machine: type[Base] | type[Owners], store: Store) -> None:
    def fresh() -> Base | Owners:
        store.client.flushall()
        return machine(Records(store))

    # It is called and nothing else, though typed as a class.
    factory = cast("type[RuleBasedStateMachine]", fresh)
    run_state_machine_as_test(factory, settings=settings())


def test_no_history_loses_doubles_or_misplaces_anything(store: Store) -> None:
    run(Everything, store)


def test_no_history_gives_a_caller_or_a_class_more_than_its_share(store: Store) -> None:
    run(Sharing, store)


def test_no_history_loses_a_file_or_a_line_of_a_batch(store: Store) -> None:
    run(Storing, store)


def test_no_history_lets_a_secret_work_that_has_ended(store: Store) -> None:
    run(SecretHolders, store)
