"""A picture is given up for what it has computed, or for hanging; not for how busy the machine is."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import psutil
import pytest

from shared.errors import CallerError
from shared.settings import PictureSettings
from tests.support import pictures as make
from tests.support.clients import until
from tests.support.pictures import decoded
from worker.media.picture_decoder import PictureDecoder

Begun = tuple[PictureDecoder, psutil.Process]
LIMIT_S = 3


@pytest.fixture
def begun() -> Iterator[Begun]:
    """A decoder and its only child, which has decoded something."""
    before, decoder = (
        set(psutil.Process().children()),
        PictureDecoder(PictureSettings(decode_limit_s=LIMIT_S)),
    )
    assert decoded(decoder, make.picture()).size == (8, 6)
    (child,) = set(psutil.Process().children()) - before
    yield decoder, child
    decoder.close()


def test_a_picture_that_decodes_for_seconds_costs_one_child_not_the_worker() -> None:
    decoder = PictureDecoder(PictureSettings(decode_limit_s=0.5))
    try:
        with pytest.raises(CallerError, match=r"longer than 0\.5 s") as refused:
            decoded(decoder, make.jpeg_of_scans((5000, 5000), 400))
        assert refused.value.code == "invalid_image"
        # A virtual machine's processor time may run on where it stands still.
        until(lambda: size_of(decoder, make.picture()) == (8, 6))
    finally:
        decoder.close()


def test_a_picture_is_not_refused_because_the_machine_stood_still(begun: Begun) -> None:
    decoder, child = begun
    child.suspend()
    with ThreadPoolExecutor(1) as pool:
        decoding = pool.submit(decoded, decoder, make.picture("PNG", (5, 4)))
        wait((decoding,), 1.5 * LIMIT_S)
        child.resume()
        assert decoding.result().size == (5, 4)


def test_a_decoder_that_hangs_is_given_up_for_another(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stood still is no fault of the picture's."""
    monkeypatch.setattr("shared.media.decoder_process.HANG_LIMIT_S", 0)
    decoder, child = begun
    child.suspend()
    assert decoded(decoder, make.picture()).size == (8, 6)
    assert not child.is_running()


def test_a_picture_that_every_decoder_hangs_at_is_not_waited_for_without_end(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.media.decoder_process.HANG_LIMIT_S", -LIMIT_S)
    with pytest.raises(CallerError, match=f"longer than {LIMIT_S} s"):
        decoded(begun[0], make.picture())


def size_of(decoder: PictureDecoder, data: bytes) -> tuple[int, int] | None:
    """None where it could not be decoded."""
    try:
        return decoded(decoder, data).size
    except CallerError:
        return None
