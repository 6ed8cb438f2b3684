"""Videos are decoded in a process of their own: the wanted frames, upright, or a refusal in words."""

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import CallerError
from shared.settings import VideoSettings
from tests.support.pictures import picture
from tests.support.sounds import sound
from tests.support.videos import SIZE, grey, video
from worker.engines.base import Frames, VideoFacts
from worker.fair_semaphore import Waiter
from worker.media.video_decoder import VideoDecoder

LIMITS = VideoSettings(decode_limit_s=60)
MP4 = video()
ACCEPTED = (
    ("mp4", "libx264"),
    ("mov", "libx264"),
    ("mp4", "libx265"),
    ("mp4", "mpeg4"),
    ("webm", "libvpx"),
    ("webm", "libvpx-vp9"),
    ("webm", "libsvtav1"),
    ("matroska", "libx264"),
    ("avi", "mpeg4"),
)


@pytest.fixture(scope="module")
def decoder() -> Iterator[VideoDecoder]:
    videos = VideoDecoder(LIMITS)
    yield videos
    videos.close()


def all_of(facts: VideoFacts) -> Sequence[int]:
    return range(facts.frames)


def decoded(decoder: VideoDecoder, data: bytes, sample: Any = all_of) -> Frames:
    with decoder.decode([data], sample, Waiter("me")) as (frames,):
        return frames


def refusal(decoder: VideoDecoder, data: bytes, sample: Any = all_of) -> str:
    with pytest.raises(CallerError) as refused:
        decoded(decoder, data, sample)
    assert (refused.value.code, refused.value.param) == ("invalid_video", "videos[0]")
    return refused.value.message


def shades(frames: Frames) -> list[int]:
    """The grey of each frame, in its middle."""
    width, height = frames.video.width, frames.video.height
    middle = (height // 2 * width + width // 2) * 3
    return [frames.pixels[at * width * height * 3 + middle] for at in range(len(frames.indices))]


@pytest.mark.parametrize(("kind", "codec"), ACCEPTED)
def test_the_wanted_frames_of_each_accepted_kind_are_seen(
    decoder: VideoDecoder, kind: str, codec: str
) -> None:
    frames = decoded(decoder, video(20, kind=kind, codec=codec), lambda _: [0, 7, 7, 19])
    assert frames.video == VideoFacts(20, 4.0, *SIZE)
    wanted = [grey(number) for number in (0, 7, 7, 19)]
    assert all(abs(a - b) <= 6 for a, b in zip(shades(frames), wanted, strict=True)), shades(frames)


def test_frames_of_a_varying_rate_are_counted_one_by_one(decoder: VideoDecoder) -> None:
    frames = decoded(decoder, video(6, times=[0, 1, 2, 20, 40, 41]))
    assert (frames.video.frames, shades(frames)) == (6, [grey(number) for number in range(6)])


def test_a_rate_that_the_header_lies_about_is_measured(decoder: VideoDecoder) -> None:
    slow = video(5, 30, kind="webm", codec="libvpx-vp9", times=[0, 30, 60, 90, 120])
    assert decoded(decoder, slow).video.fps == 1.0


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_phones_video_is_shown_upright(decoder: VideoDecoder, turn: int) -> None:
    frames = decoded(decoder, turned(MP4, turn))
    assert (frames.video.width, frames.video.height) == (SIZE if turn == 180 else SIZE[::-1])
    # The white corner, at the top left as stored, goes where the header's turn to the right takes it.
    width, height = frames.video.width, frames.video.height
    corner = {90: (width - 1, 0), 180: (width - 1, height - 1), 270: (0, height - 1)}[turn]
    assert frames.pixels[(corner[1] * width + corner[0]) * 3] > 240


def turned(data: bytes, degrees: int) -> bytes:
    """The same MP4 with another matrix in its track's header (ISO/IEC 14496-12, 8.3.2)."""
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = struct.pack("!9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    at = data.index(b"tkhd") + 4 + 40
    return data[:at] + matrix + data[at + len(matrix) :]


NO_VIDEO = {
    "nothing": (b"", "empty"),
    "a GIF by the name of a video": (picture("GIF"), "not an MP4"),
    "a PNG": (picture("PNG"), "not an MP4"),
    "a sound": (sound(), "not an MP4"),
    "a playlist of other files": (b"#EXTM3U\n#EXTINF:1,\nhttp://10.0.0.1/a.ts\n", "not an MP4"),
    "a still picture in a video's box": (b"\0\0\0\x1cftypheic" + bytes(90), "not an MP4"),
    "a box and nothing in it": (b"\0\0\0\x20ftypisom" + bytes(90), "could not be decoded"),
    "a Matroska header alone": (b"\x1a\x45\xdf\xa3" + bytes(60), "could not be decoded"),
    "cut before its index": (MP4[: len(MP4) // 2], "could not be decoded"),
}


@pytest.mark.parametrize("name", NO_VIDEO)
def test_what_is_no_video_is_refused_in_words(decoder: VideoDecoder, name: str) -> None:
    data, words = NO_VIDEO[name]
    assert words in refusal(decoder, data)


def test_a_video_cut_after_its_index_is_refused_not_answered_by_its_beginning(decoder: VideoDecoder) -> None:
    whole = video(40, options={"movflags": "faststart"})
    assert "cut" in refusal(decoder, whole[: len(whole) * 9 // 10])
    for kind in ("matroska", "avi"):
        whole = video(40, kind=kind, codec="mpeg4")
        assert "cut" in refusal(decoder, whole[: len(whole) * 9 // 10])


def test_a_whole_video_whose_head_is_counted_twice_is_shown(decoder: VideoDecoder) -> None:
    avi = video(kind="avi", codec="mpeg4")
    wrong = avi[:4] + struct.pack("<I", len(avi)) + avi[8:]
    assert decoded(decoder, wrong).video.frames == 12


def test_a_video_whose_last_box_has_no_size_is_whole_or_cut_by_its_index(decoder: VideoDecoder) -> None:
    data = video(40, options={"movflags": "faststart"})
    at = data.index(b"mdat") - 4
    whole = data[:at] + bytes(4) + data[at + 4 :]
    assert decoded(decoder, whole).video.frames == 40
    assert "cut" in refusal(decoder, whole[:-1])


@pytest.mark.parametrize("kind", ["mp4", "mov"])
def test_a_video_that_was_trimmed_without_coding_it_anew_is_shown_as_players_show_it(
    decoder: VideoDecoder, kind: str
) -> None:
    frames = decoded(decoder, trimmed(kind, 13, 31))
    assert [round((shade - 16) / 7) for shade in shades(frames)] == [*range(13, 31)]


def trimmed(kind: str, first: int, end: int) -> bytes:
    """As `ffmpeg -c copy` trims: frames are still there that an edit list hides (ISO/IEC 14496-12, 8.6.6)."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(video(40, kind=kind)), "r") as whole,
        av.open(file, "w", format=kind) as container,
    ):
        stream = container.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None and packet.pts is not None:
                start = round(first / 4 / packet.time_base)
                packet.stream, packet.pts, packet.dts = stream, packet.pts - start, packet.dts - start
                container.mux(packet)
    data = file.getvalue()
    at = data.index(b"elst") + 12
    return data[:at] + struct.pack("!I", (end - first) * 250) + data[at + 4 :]


def test_a_file_without_pictures_is_refused(decoder: VideoDecoder) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "no pictures" in refusal(decoder, file.getvalue())


def test_a_codec_that_nobody_sends_is_not_tried(decoder: VideoDecoder) -> None:
    assert "coded as" in refusal(decoder, video(kind="matroska", codec="ffv1"))


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"max_s": 2.5}, "3.0 s long; at most 2.5 s"),
        ({"max_megapixels": 0.003}, "64 x 48 pixels; at most 0.003 megapixels"),
        ({"max_frames": 11}, "12 frames of it would be shown to the model; at most 11 are"),
        ({"max_megapixels_request": 0.02}, "send `num_frames`: 6 or less"),
    ],
)
def test_each_limit_is_told_with_what_to_do(limit: dict[str, Any], words: str) -> None:
    strict = VideoDecoder(LIMITS.model_copy(update=limit))
    try:
        assert words in refusal(strict, MP4)
    finally:
        strict.close()


def test_videos_count_together(decoder: VideoDecoder) -> None:
    strict = VideoDecoder(LIMITS.model_copy(update={"max_frames": 20}))
    with (
        pytest.raises(CallerError, match="24 frames") as refused,
        strict.decode([MP4] * 2, all_of, Waiter("me")),
    ):
        pass
    assert refused.value.param == "videos[1]"
    strict.close()
    with pytest.raises(CallerError) as refused, decoder.decode([MP4] * 5, all_of, Waiter("me")):
        pass
    assert (refused.value.code, refused.value.param) == ("invalid_video", "videos[4]")


def test_dimensions_that_the_header_lies_about_cost_no_memory(decoder: VideoDecoder) -> None:
    """The stream's own count, whatever the track's header says."""
    at = MP4.index(b"avc1") + 4 + 24
    huge = MP4[:at] + struct.pack("!HH", 60_000, 60_000) + MP4[at + 4 :]
    assert decoded(decoder, huge).video.width == SIZE[0]


def test_frames_that_come_in_pieces_are_whole_and_in_order(decoder: VideoDecoder) -> None:
    size = (1280, 720)
    frames = decoded(decoder, video(8, 4, size), lambda facts: range(facts.frames))
    step = size[0] * size[1] * 3
    assert len(frames.pixels) == 8 * step
    few = decoded(decoder, video(8, 4, size), lambda _: [5])
    assert few.pixels == frames.pixels[5 * step : 6 * step]


def test_much_black_in_a_small_file_ends_at_a_limit() -> None:
    """Half a gigabyte of frames in a small file, of which none but the wanted ones are held."""
    black = video(200, 30, (1280, 720))
    strict = VideoDecoder(LIMITS.model_copy(update={"max_megapixels_request": 8, "max_frames": 4000}))
    assert "too large together" in refusal(strict, black)
    assert decoded(strict, black, lambda _: [0, 199]).indices == (0, 199)
    strict.close()


def test_a_video_that_takes_too_long_is_refused_and_the_next_one_is_decoded() -> None:
    hasty = VideoDecoder(replace_limit(0.05))
    long = video(400, 30, (640, 360))
    assert "took longer than 0.05 s" in refusal(hasty, long, lambda _: [399])
    hasty.close()


def replace_limit(seconds: float) -> VideoSettings:
    return LIMITS.model_copy(update={"decode_limit_s": seconds})


BROKEN = (MP4, video(kind="webm", codec="libvpx-vp9"), video(kind="avi", codec="mpeg4"))


@given(
    at=st.floats(0, 1, exclude_max=True),
    value=st.binary(min_size=1, max_size=8),
    which=st.sampled_from(BROKEN),
)
@settings(max_examples=100, deadline=None)
def test_a_video_that_is_broken_anywhere_is_shown_or_refused(
    decoder: VideoDecoder, at: float, value: bytes, which: bytes
) -> None:
    place = int(at * len(which))
    data = which[:place] + value + which[place + len(value) :]
    # Any other exception than a refusal fails the test.
    with suppress(CallerError):
        frames = decoded(decoder, data, lambda facts: range(min(facts.frames, 8)))
        assert len(frames.pixels) == len(frames.indices) * frames.video.width * frames.video.height * 3
