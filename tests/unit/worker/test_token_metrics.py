"""A worker's record says how fast it is now, not how fast it was this morning."""

from worker.telemetry.token_metrics import SPAN_S, Throughput


class Engine:
    """Generates when it is told to, on a clock of its own."""

    def __init__(self) -> None:
        self.now, self.tokens = 100.0, 5.0
        self.tempo = Throughput(lambda: self.tokens, lambda: self.now)

    def generate(self, tokens: float, seconds: float) -> float:
        self.now += seconds
        self.tokens += tokens
        return self.tempo.per_s()


def test_tokens_of_the_last_seconds_count_and_older_ones_do_not() -> None:
    engine = Engine()
    assert {engine.generate(30, 1) for _ in range(20)} == {30}
    assert engine.generate(0, 5) == 15
    assert engine.generate(0, SPAN_S) == 0


def test_a_worker_that_just_began_is_not_slow() -> None:
    engine = Engine()
    assert engine.tempo.per_s() == 0
    assert engine.generate(10, 0.5) == 20
