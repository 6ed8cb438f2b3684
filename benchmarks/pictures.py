"""What it costs to decode a large picture as it is, beside one shrunk to 4096 pixels a side: half a minute.

The worker's own decoder, child process and socket included; no model.
"""

import io
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from statistics import mean

from matplotlib.figure import Figure
from PIL import Image

from benchmarks.frame import command, report
from benchmarks.frame.statistics import ratio
from shared.settings import PictureSettings
from worker.fair_semaphore import Waiter
from worker.media.picture_decoder import PictureDecoder

ROUNDS, SHRUNK = 7, 4096
UPRIGHT, TURNED = 1, 6
"""EXIF's orientations."""
PICTURES = {
    "JPEG 5184 x 3456": ("JPEG", (5184, 3456), UPRIGHT),
    "JPEG 4032 x 3024, turned": ("JPEG", (4032, 3024), TURNED),
    "JPEG 7744 x 5160": ("JPEG", (7744, 5160), UPRIGHT),
    "PNG 7744 x 5160": ("PNG", (7744, 5160), UPRIGHT),
    "WebP 4032 x 3024": ("WEBP", (4032, 3024), UPRIGHT),
}
"""The first has the size of the picture in transformers' guide."""
SIDES = {"as it is": None, f"shrunk to {SHRUNK}": SHRUNK}
Times = Mapping[str, Mapping[str, Sequence[float]]]


def measure(arguments: command.Options, say: command.Say) -> report.Findings:
    files = {name: _file(*made) for name, made in PICTURES.items()}
    with ExitStack() as stack:
        decoders = {
            side: stack.enter_context(closing(PictureDecoder(PictureSettings(max_side=most, max_mb=100))))
            for side, most in SIDES.items()
        }
        times = {name: _times(decoders, file, arguments.rounds) for name, file in files.items()}
    for name, sides in times.items():
        say(f"{name}: {', '.join(f'{side} {1000 * mean(s):.0f} ms' for side, s in sides.items())}")
    figures = {
        name: {side: round(1000 * mean(s), 1) for side, s in sides.items()} for name, sides in times.items()
    }
    own, other = SIDES
    ratios = [
        ratio(name, f"{other}, per second", [1 / t for t in s[own]], [1 / t for t in s[other]])
        for name, s in times.items()
    ]
    return report.Findings({"ms": figures}, _picture(times), (), ratios)


def _file(kind: str, size: tuple[int, int], orientation: int) -> bytes:
    """About as many bytes as a photo has."""
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    coarse = Image.effect_noise((size[0] // 64, size[1] // 64), 60)
    picture = Image.merge("RGB", [coarse.rotate(angle).resize(size) for angle in (0, 90, 180)])
    picture.save(out, kind, exif=exif, **({"compress_level": 6} if kind == "PNG" else {"quality": 85}))
    return out.getvalue()


def _times(decoders: Mapping[str, PictureDecoder], file: bytes, rounds: int) -> dict[str, list[float]]:
    """Seconds; the decoders take turns, and their first turn is not counted."""
    times: dict[str, list[float]] = {side: [] for side in decoders}
    for number in range(rounds + 1):
        for side, decoder in decoders.items():
            began = time.perf_counter()
            with decoder.decode([file], Waiter("")):
                times[side] += [time.perf_counter() - began] if number else []
    return times


def _picture(times: Times) -> Figure:
    figure, axes = report.figure(1)
    for number, side in enumerate(SIDES):
        heights = [1000 * mean(sides[side]) for sides in times.values()]
        axes.barh([at + 0.4 * number for at in range(len(times))], heights, 0.38, label=side)
    axes.set_yticks([at + 0.2 for at in range(len(times))], [*times])
    report.label(axes, "ms until the picture is in the worker", "")
    return figure


if __name__ == "__main__":
    command.main("pictures", __doc__, measure, rounds=(ROUNDS, "turns of each side"))
