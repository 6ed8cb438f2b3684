import math

import pytest

from shared.media.pictures import room
from shared.settings import PictureSettings

SIDE = 4096


def shrunk(*stored: tuple[int, int]) -> list[tuple[int, int]]:
    seen = room(stored, PictureSettings(max_side=SIDE))
    return [seen.fitted(size) for size in stored]


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        ((640, 480), (640, 480)),
        ((SIDE, SIDE), (SIDE, SIDE)),
        ((40_000, 800), (SIDE, 82)),
        ((800, 40_000), (82, SIDE)),
        ((5000, 1000), (SIDE, 819)),
        ((500_000, 1), (SIDE, 1)),
    ],
)
def test_one_picture_is_shrunk_to_the_longest_side_and_keeps_its_shape(
    stored: tuple[int, int], seen: tuple[int, int]
) -> None:
    assert shrunk(stored) == [seen]


def test_many_large_pictures_do_not_take_more_of_the_workers_memory_than_one() -> None:
    for count in (2, 5, 32):
        found = shrunk(*[(4000, 3000)] * count)
        assert len(set(found)) == 1
        assert SIDE**2 * 0.99 < sum(map(math.prod, found)) < SIDE**2 * 1.01


def test_a_small_picture_beside_large_ones_loses_no_pixel() -> None:
    small, *large = shrunk((300, 200), (4000, 4000), (4000, 4000), (4000, 4000))
    assert small == (300, 200)
    assert all(size[0] < 4000 for size in large)
