"""The line of the engine: nobody in it is lost, whoever joins while its head is being taken."""

from types import SimpleNamespace
from typing import Any

from worker.engines.continuous.scheduler import WaitingQueue


def answer(arrived: float, *, begun: bool = False) -> Any:
    return SimpleNamespace(row=SimpleNamespace(arrived=arrived), begun=begun)


def test_who_arrived_earlier_and_joins_while_the_head_is_taken_is_not_taken_in_its_place() -> None:
    line, later, earlier = WaitingQueue(), answer(2.0), answer(1.0)
    line.join([later])
    head: Any = line.head()
    line.join([earlier])
    assert head is later
    assert not line.take(later)
    assert line.waiting() == [earlier, later]
    assert line.take(earlier)
    assert line.take(later)
    assert not line.take(later)


def test_the_answers_to_one_prompt_stay_together_and_what_was_put_back_stays_before_all() -> None:
    line, back = WaitingQueue(), answer(9.0, begun=True)
    line.put_back([back])
    wide, single, late = [answer(2.0) for _ in range(3)], answer(1.0), answer(3.0)
    for joining in (wide, [late], [single]):
        line.join(joining)
    assert line.waiting() == [back, single, *wide, late]
