"""MP3s as the world has them: what stands around their frames costs no caller a sound, and nobody time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from shared.errors import CallerError
from shared.media import mp3
from shared.media.sounds import decodable, inspect
from shared.settings import SoundSettings
from tests.support import sounds as make

LIMITS = SoundSettings()
SOUND = make.sound("MP3", 0.5, 8_000)
COVER = bytes(range(255)) * 400
AROUND = {
    "zeros": bytes(102_000),
    "an APE tag that has only a foot": COVER + make.ape_tag(len(COVER))[:32],
}


@pytest.mark.parametrize("rest", AROUND.values(), ids=AROUND.keys())
def test_an_mp3_is_not_refused_for_what_stands_behind_it(rest: bytes) -> None:
    assert inspect(SOUND + rest, LIMITS, None) == inspect(SOUND, LIMITS, None)


@pytest.mark.parametrize("rest", AROUND.values(), ids=AROUND.keys())
def test_what_stands_behind_much_that_is_no_sound_is_heard_too(rest: bytes) -> None:
    once, twice = (mp3.read(data, LIMITS.max_s) for data in (SOUND, SOUND + rest + SOUND))
    assert len(twice.frames) == 2 * len(once.frames)


ONE = mp3.read(SOUND, LIMITS.max_s).frames[3]
FRAME = SOUND[ONE.start : ONE.end]
UNHEARD = {
    "frames that lines were broken between": (FRAME + b"\r\n") * 300,
    "another sound": SOUND + bytes(range(1, 255)) * 2_000,
    "what a download had not brought yet": SOUND + bytes(400_000),
}


@pytest.mark.parametrize("data", UNHEARD.values(), ids=UNHEARD.keys())
def test_nobody_is_answered_about_the_beginning_of_a_sound_whose_rest_cannot_be_read(data: bytes) -> None:
    with pytest.raises(CallerError, match="much of it is no sound"):
        inspect(data, LIMITS, None)


@contextmanager
def calls() -> Iterator[list[str]]:
    """The functions called meanwhile."""
    found: list[str] = []

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield found
    finally:
        sys.setprofile(before)


SOME = mp3.read(SOUND, LIMITS.max_s).frames[3:5]
PAIR = SOUND[SOME[0].start : SOME[1].end]
FACTS = SOUND[mp3.past_tags(SOUND) : mp3.read(SOUND, LIMITS.max_s).frames[0].start]
# Each of these begins like a whole frame.
HEADS = b"\0" + b"\xff\xfb\x10" * 20_000
LABOUR = {
    "beginnings of frames": PAIR + (b"\xff\xfb" * 30_000 + PAIR) * 16,
    "heads of frames": PAIR + (HEADS + PAIR) * 16,
    "junk in small pieces": (PAIR + HEADS[:31]) * 200 + (HEADS + PAIR) * 16,
    "facts": FACTS * 20_000,
    "facts amid sound": (PAIR + FACTS * 1_000) * 16,
    "junk alone": b"ID3\x04\0\0\0\0\0\0" + HEADS * 16,
}


@pytest.mark.parametrize("short", range(4))
def test_a_sound_is_found_wherever_a_search_breaks_off(short: int) -> None:
    data = PAIR + bytes(mp3.PIECE - short) + PAIR
    assert len(mp3.read(data, LIMITS.max_s).frames) == 4


@pytest.mark.parametrize("data", LABOUR.values(), ids=LABOUR.keys())
def test_no_mp3_keeps_its_reader_busy(data: bytes) -> None:
    with calls() as made, pytest.raises(CallerError, match="much of it is no sound"):
        inspect(data, LIMITS, None)
    assert len(made) < 80_000


def test_a_worker_does_not_read_an_mp3_twice() -> None:
    data = (PAIR + HEADS[:31]) * 100
    with calls() as made:
        decodable(data, inspect(data, LIMITS, None))
    assert made.count("read") == 1
