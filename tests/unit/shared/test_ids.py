"""An installation can be spread over several record stores without another change of its ids."""

from collections.abc import Callable

import pytest

from shared import ids

IDS: dict[Callable[[], str], str] = {
    ids.job_id: "job_",
    ids.key_id: "key_",
    ids.file_id: "file-",
    ids.batch_id: "batch_",
}


@pytest.mark.parametrize("make", IDS)
def test_an_id_says_in_which_store_its_record_is_and_is_as_long_as_before(make: Callable[[], str]) -> None:
    id = make()
    kind = IDS[make]
    assert id.startswith(kind + ids.CELL)
    assert len(id) == len(kind) + (16 if kind == "key_" else 32)
    int(id.removeprefix(kind), 16)


def test_a_batch_that_is_asked_for_again_after_an_update_is_the_same_one() -> None:
    assert ids.batch_id_of("shop", "key") == "batch_c4f65b4dd768a1e029743e01ac0de529"
