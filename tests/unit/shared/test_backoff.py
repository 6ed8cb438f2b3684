from shared.backoff import backoff_s


def test_pauses_between_tries_double_up_to_the_longest() -> None:
    assert [backoff_s(n) for n in range(1, 9)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert [backoff_s(n, 0.25, 1) for n in range(1, 5)] == [0.25, 0.5, 1, 1]
    assert backoff_s(100_000) == 30
