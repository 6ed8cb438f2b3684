"""Videos for tests, made by PyAV: each frame has a grey of its own, by which a test knows it again."""

from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

SIZE = (64, 48)
SETTINGS = {"libx264": {"preset": "ultrafast", "qp": "0"}, "libvpx-vp9": {"lossless": "1", "cpu-used": "8"}}


def grey(number: int) -> int:
    """Of a frame; codecs keep it to a level or two."""
    return 16 + 7 * number % 220


def video(
    frames: int = 12,
    fps: int = 4,
    size: tuple[int, int] = SIZE,
    *,
    kind: str = "mp4",
    codec: str = "libx264",
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
) -> bytes:
    """`times` are those of the frames, in units of a frame at a constant rate."""
    folder = TemporaryDirectory()
    file = Path(folder.name) / "video"
    with folder, av.open(str(file), "w", format=kind, options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=SETTINGS.get(codec, {}))
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(_picture(number, size), format="rgb24")
            frame.pts, frame.time_base = times[number] if times else number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        container.close()
        return file.read_bytes()


def _picture(number: int, size: tuple[int, int]) -> Any:
    """Grey, with a white corner at the top left, so that a turn shows."""
    width, height = size
    pixels = np.full((height, width, 3), grey(number), np.uint8)
    pixels[: height // 4, : width // 4] = 255
    return pixels
