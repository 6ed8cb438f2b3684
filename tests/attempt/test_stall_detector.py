"""A hung engine is given up in time; a slow one, or one whose whole process was paused, is not."""

from dataclasses import dataclass

from worker.watchdogs import StallDetector

STALL_S, RENEW_S = 30.0, 1.0


@dataclass
class Watched:
    """An engine, the clock, and a heartbeat that looks every second."""

    now: float = 0.0
    idle: float = 0.0
    longest_step_s: float = 0.1
    broken: bool = False

    def __post_init__(self) -> None:
        self.stall = StallDetector(STALL_S, RENEW_S, lambda: self.now)

    def idle_s(self) -> float:
        return self.idle

    def look(self, after: float = RENEW_S) -> bool:
        """Whether it counts as hung, a beat later."""
        self.now += after
        self.idle += after
        return self.stall.stalled_s(self) is not None

    def step(self) -> None:
        """The engine gets on."""
        self.longest_step_s = max(self.longest_step_s, self.idle)
        self.idle = 0.0

    def beats_until_hung(self) -> int:
        return next(beat for beat in range(1, 1000) if self.look())


def test_an_engine_without_progress_is_given_up_behind_the_limit() -> None:
    assert Watched().beats_until_hung() == STALL_S / RENEW_S + 1


def test_an_engine_whose_steps_take_long_gets_more_time() -> None:
    engine = Watched()
    assert not any(engine.look() for _ in range(20))
    engine.step()
    assert engine.beats_until_hung() == 10 * 20 / RENEW_S + 1


def test_a_paused_process_does_not_give_up_its_engine() -> None:
    engine = Watched()
    engine.look()
    assert not engine.look(after=100)
    engine.step()
    assert not engine.look()


def test_a_pause_does_not_make_a_later_hang_last_longer() -> None:
    """Ten times the pause would go by, with every run of the worker stuck."""
    engine = Watched()
    engine.look(after=100)
    engine.step()
    engine.look()
    assert engine.beats_until_hung() == STALL_S / RENEW_S
