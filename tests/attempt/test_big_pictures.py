"""A few kilobytes that would become gigabytes once a model's image processor squares them."""

import fcntl
import os
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from io import BytesIO
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from pi_heif import open_heif
from PIL import Image, ImageChops

from shared.errors import CallerError
from shared.media import machine_memory
from shared.request import Request
from shared.settings import PictureSettings
from tests.support import pictures as make
from tests.support.attempt_harness import MODEL, worker_harness
from tests.support.clients import until
from tests.support.patience import PATIENCE_S
from tests.support.pictures import decoded
from tests.support.redis_server import RedisServer
from worker.engines.base import Prompt
from worker.engines.echo import EchoEngine
from worker.fair_semaphore import MIN_CONCURRENCY, Waiter, prepare_concurrency
from worker.media.picture_decoder import PictureDecoder

ROOT = Path(__file__).parents[2]
SIDE = 4096
# That of the largest picture of 16:10.
LONGEST = 8000

# The pictures are decoded by children, which may not be limited below what they need to start.
PREPARING = """
import sys
from pathlib import Path
from transformers import AutoConfig, AutoProcessor
from shared.request import Image, Message, Request
from shared.settings import PictureSettings
from worker.engines.prompt.renderer import Renderer
from worker.media.picture_decoder import PictureDecoder
from shared.media.decoder_protocol import limit_memory
from worker.fair_semaphore import Waiter

tiny = Path("models/tiny")
renderer = Renderer(AutoProcessor.from_pretrained(tiny), AutoConfig.from_pretrained(tiny), 2048)
decoder = PictureDecoder(PictureSettings(decode_limit_s=60))
with decoder.decode([Path(name).read_bytes() for name in sys.argv[1:]], Waiter("")) as pictures:
    pass
asked = Request(model="m", messages=(Message(role="user", parts=(Image(digest="x"),)),))
limit_memory(1024)
for picture in pictures:
    print(renderer.prompt(asked, [picture]).image_tokens)
"""


@pytest.fixture(scope="module")
def decoder() -> Iterator[PictureDecoder]:
    decoder = PictureDecoder(PictureSettings(decode_limit_s=60))
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def shrinking() -> Iterator[PictureDecoder]:
    decoder = PictureDecoder(PictureSettings(decode_limit_s=60, max_side=SIDE))
    yield decoder
    decoder.close()


def test_a_picture_of_a_few_kilobytes_does_not_take_the_workers_memory(tmp_path: Path) -> None:
    files = [tmp_path / "wide.png", tmp_path / "tall.png"]
    for file, size in zip(files, [(LONGEST, 200), (200, LONGEST)], strict=True):
        file.write_bytes(make.picture("PNG", size, "1"))
        assert file.stat().st_size < 20_000
    command = [sys.executable, "-W", "ignore", "-c", PREPARING, *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [b"64", b"64"]), done.stderr[-2000:]


@pytest.mark.parametrize(
    ("kind", "size", "seen"),
    [
        ("PNG", (200, LONGEST + 1), (200, LONGEST)),
        ("JPEG", (9000, 4000), (LONGEST, 3556)),
        ("JPEG", (16_320, 12_240), (7303, 5477)),
    ],
)
def test_a_picture_that_no_processor_could_square_is_shrunk_and_tells_its_own_size(
    decoder: PictureDecoder, kind: str, size: tuple[int, int], seen: tuple[int, int]
) -> None:
    picture = decoded(decoder, make.picture(kind, size, "L"))
    assert (picture.size, picture.original) == (seen, size)


@pytest.mark.parametrize(
    ("kind", "size", "mode"),
    [("JPEG", (5184, 3456), "RGB"), ("PNG", (5184, 3456), "L"), ("PNG", (LONGEST, 1000), "P")],
)
def test_a_large_picture_reaches_the_model_as_it_is(
    decoder: PictureDecoder, kind: str, size: tuple[int, int], mode: str
) -> None:
    gradient = Image.linear_gradient("L").resize(size).convert(mode)
    file = make.encoded(gradient, kind)
    with Image.open(BytesIO(file)) as own:
        assert decoded(decoder, file).tobytes() == own.convert("RGB").tobytes()


def tiled(image: Image.Image, side: int) -> bytes:
    places = product(range(0, image.height, side), range(0, image.width, side))
    parts = [image.crop((left, top, left + side, top + side)).tobytes() for top, left in places]
    return make.tiff(image.size, (side, side), [zlib.compress(part) for part in parts])


def in_16_bits(image: Image.Image) -> bytes:
    """Each row but the first is coded as the difference to the one above, which low bytes carry into."""
    samples = np.asarray(image)
    wide = np.stack([samples, 255 - samples], axis=-1).reshape(image.height, -1)
    changes = np.diff(wide, axis=0, prepend=np.zeros((1, wide.shape[1]), np.uint8))
    return make.png(image.size, np.insert(changes, 0, 2, axis=1).tobytes(), depth=16)


ENCODINGS: dict[str, Callable[[Image.Image], bytes]] = {
    "grey PNG": lambda image: make.encoded(image.convert("L"), "PNG"),
    "PNG": lambda image: make.encoded(image, "PNG"),
    "PNG with alpha": lambda image: make.encoded(image.convert("RGBA"), "PNG"),
    "grey PNG with alpha": lambda image: make.encoded(image.convert("LA"), "PNG"),
    "16-bit PNG": in_16_bits,
    "icon": lambda image: make.icon_of(make.encoded(image, "PNG")),
    "TIFF of strips": lambda image: make.encoded(image, "TIFF", compression="tiff_lzw"),
    "TIFF of tiles": lambda image: tiled(image, 64),
}


@pytest.mark.parametrize("size", [(5000, 3001), (900, 4500)])
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_picture_shrunk_in_strips_shows_no_seams(
    shrinking: PictureDecoder, size: tuple[int, int], encode: Callable[[Image.Image], bytes]
) -> None:
    # So mild that no step between is cut at black or white, where the order of steps would show.
    noise = Image.effect_noise(size, 20).convert("RGB")
    seen = decoded(shrinking, encode(noise))
    whole = noise.resize(seen.size, Image.Resampling.BICUBIC)
    assert max(ImageChops.difference(seen, whole).tobytes()) <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_large_picture_stands_upright(shrinking: PictureDecoder, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = make.encoded(Image.linear_gradient("L").resize((5000, 1000)).convert("RGB"), kind, exif=exif)
    seen = decoded(shrinking, file)
    assert (seen.size, seen.original) == ((819, SIDE), (1000, 5000))
    # What was below is now on the left.
    left, right = (np.asarray(seen.crop((x, 0, x + 9, 9))) for x in (0, 810))
    assert left.min() > right.max()


def heic(name: str, size: tuple[int, int], *, turned: bool = False) -> bytes:
    return make.heif_grid((ROOT / "tests/data" / name).read_bytes(), size, turned=turned)


HEICS: dict[str, Callable[[], bytes]] = {
    "8 bits": lambda: heic("tile.heic", (5000, 3001)),
    "turned": lambda: heic("tile.heic", (5000, 3001), turned=True),
    "10 bits": lambda: heic("tile_10_bits.heic", (5000, 3001)),
    "transparent": lambda: (ROOT / "tests/data/transparent.heic").read_bytes(),
}


@pytest.mark.parametrize("encode", HEICS.values(), ids=HEICS)
def test_a_heic_is_seen_as_if_decoded_at_once(shrinking: PictureDecoder, encode: Callable[[], bytes]) -> None:
    seen = decoded(shrinking, encode())
    whole = open_heif(encode()).to_pillow().convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    assert seen.original == whole.size
    shrunk = on_white.resize(seen.size, Image.Resampling.BICUBIC)
    assert max(ImageChops.difference(seen, shrunk).tobytes()) <= 2


@pytest.mark.parametrize(("kept", "is_seen"), [(0.999, True), (0.9, False)])
def test_a_large_picture_cut_short_is_seen_if_its_rows_are_there(
    shrinking: PictureDecoder, kept: float, is_seen: bool
) -> None:
    file = make.encoded(Image.effect_noise((5000, 800), 60).convert("RGB"), "PNG")
    with nullcontext() if is_seen else pytest.raises(CallerError, match="cut short"):
        assert decoded(shrinking, file[: int(len(file) * kept)]).size == (SIDE, 655)


STRIP = zlib.compress(bytes(10_000 * 100 * 3))
LARGE: dict[str, Callable[[], bytes]] = {
    "RGB": lambda: make.large_png(10_000),
    "RGBA, 169 megapixels": lambda: make.large_png(13_000, colour=make.RGBA),
    "16-bit RGB": lambda: make.large_png(10_000, depth=16),
    "16-bit grey, 169 megapixels": lambda: make.large_png(13_000, depth=16, colour=make.GREY),
    "palette, 169 megapixels": lambda: make.large_png(13_000, colour=make.PALETTE),
    "icon": lambda: make.icon_of(make.large_png(10_000)),
    "GIF, 169 megapixels": lambda: make.picture("GIF", (13_000, 13_000), "L"),
    "TIFF": lambda: make.tiff((10_000, 10_000), (10_000, 100), [STRIP]),
    "photo of 50 megapixels": lambda: make.picture("JPEG", (8192, 6144), progressive=True),
    "screenshot": lambda: make.picture("PNG", (1200, 60_000)),
    "HEIC of 48 megapixels": lambda: heic("tile.heic", (8064, 6048)),
    "HEIC of 48 megapixels, turned": lambda: heic("tile.heic", (8064, 6048), turned=True),
    "lossy WebP of 24 megapixels": lambda: make.picture("WEBP", (6000, 4000), method=0),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("encode", LARGE.values(), ids=LARGE)
def test_a_large_picture_takes_at_most_400_mb(encode: Callable[[], bytes]) -> None:
    decoder, others = PictureDecoder(PictureSettings(decode_limit_s=60)), psutil.Process().children()
    try:
        seen = decoded(decoder, encode())
        (child,) = (p for p in psutil.Process().children() if p not in others)
        peak_kb = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{child.pid}/status").read_text())
    finally:
        decoder.close()
    assert peak_kb is not None
    # Four for the interpreter and its confinement, which differ from run to run.
    assert int(peak_kb[1]) < 404 * 1024
    assert seen.width * seen.height > 10**6


def test_small_pictures_do_not_wait_behind_large_ones(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has all of this machine's places for large pictures."""
    monkeypatch.setattr("shared.media.machine_memory.gettempdir", lambda: tmp_path)
    large = make.picture("PNG", (5000, 4000))
    with worker_harness(redis) as harness, ThreadPoolExecutor(4) as threads, ExitStack() as others:
        with machine_memory.reserved(machine_memory.LARGE + 1):
            (folder,) = tmp_path.iterdir()
        for number in range(machine_memory.AT_ONCE):
            fcntl.flock(others.enter_context((folder / str(number)).open("a")), fcntl.LOCK_EX)
        jobs = [harness.ask(f"large {n}", large) for n in range(3)]
        attempts = [threads.submit(harness.attempt) for _ in jobs]
        until(lambda: all(harness.job(job).status == "running" for job in jobs))
        small = harness.ask("small", make.picture())
        threads.submit(harness.attempt).result(PATIENCE_S)
        assert harness.text(small) == "small [8x6]"
        assert not any(attempt.done() for attempt in attempts)
        others.close()
        for attempt in attempts:
            attempt.result(PATIENCE_S)
        assert [harness.text(job) for job in jobs] == [f"large {n} [5000x4000]" for n in range(3)]


def test_a_large_picture_takes_the_place_that_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes begin to count at the same place."""
    monkeypatch.setattr("shared.media.machine_memory.gettempdir", lambda: tmp_path)
    with machine_memory.reserved(machine_memory.LARGE + 1):
        (folder,) = tmp_path.iterdir()
    for number in range(machine_memory.AT_ONCE):
        with (folder / str(number)).open("a") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            for _ in range(machine_memory.AT_ONCE):
                with machine_memory.reserved(machine_memory.LARGE + 1):
                    pass


@pytest.mark.parametrize("hinder", [Path.touch, lambda path: path.symlink_to("/")], ids=["file", "link"])
def test_large_pictures_are_decoded_without_a_folder_of_places(
    decoder: PictureDecoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hinder: Callable[[Path], None],
) -> None:
    """Every user of a machine may write in its temp folder."""
    monkeypatch.setattr("shared.media.machine_memory.gettempdir", lambda: tmp_path)
    hinder(tmp_path / f"sightline-decoders-{os.getuid()}")
    with decoder.place(machine_memory.LARGE + 1, Waiter("")):
        assert len(list(tmp_path.iterdir())) == 1


def test_a_picture_waits_until_another_request_has_let_go_of_its_large_one(decoder: PictureDecoder) -> None:
    large, small = make.picture("PNG", (6300, 6349), "1"), make.picture(size=(64, 48))

    def sizes_of(file: bytes) -> list[tuple[int, int]]:
        with decoder.decode([file], Waiter("")) as pictures:
            return [picture.size for picture in pictures]

    with ThreadPoolExecutor(1) as threads:
        with decoder.decode([large, large], Waiter("")):
            waiting = threads.submit(sizes_of, small)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert waiting.result(PATIENCE_S) == [(64, 48)]


@pytest.mark.parametrize(("processors", "gib", "most"), [(1, 64, 2), (16, 64, 4), (16, 4, 2)])
def test_large_pictures_do_not_wait_for_each_other_where_there_are_processors_and_memory_for_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, processors: int, gib: int, most: int
) -> None:
    (tmp_path / "memory.max").write_text(f"{gib * 2**30}\n")
    monkeypatch.setattr("shared.cgroup.CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(processors), raising=False)
    large, together = make.picture(size=(4000, 4000), mode="L"), threading.Barrier(most)
    decoder = PictureDecoder(PictureSettings(decode_limit_s=60), prepare_concurrency())

    def hold() -> None:
        with decoder.decode([large], Waiter("")):
            together.wait(PATIENCE_S)

    try:
        with ThreadPoolExecutor(most) as threads:
            assert [each.result() for each in [threads.submit(hold) for _ in range(most)]] == [None] * most
    finally:
        decoder.close()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_largest_pictures_leave_no_memory_taken_in_the_decoder(kind: str) -> None:
    options = {"progressive": True} if kind == "JPEG" else {}
    size = (3700, 3700) if kind == "WEBP" else (6300, 6300)
    data = make.picture(kind, size, "L" if kind == "GIF" else "RGB", **options)
    decoder, others = PictureDecoder(PictureSettings(decode_limit_s=60)), psutil.Process().children()
    try:
        decoded(decoder, make.picture())
        (child,) = (p for p in psutil.Process().children() if p not in others)
        before = child.memory_info().rss
        assert decoded(decoder, data).size == size
        # It gives its memory back when it has answered.
        until(lambda: child.memory_info().rss - before < 50 * 2**20)
    finally:
        decoder.close()


def test_few_requests_have_their_pictures_in_memory_at_once(redis: RedisServer) -> None:
    """Two are prepared at a time; the third begins only when one of them is done."""
    inside, go_on = threading.Semaphore(0), threading.Event()
    most, now, lock = [0], [0], threading.Lock()

    class Slow(EchoEngine):
        def prepare(self, *asked: Any) -> Prompt:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            inside.release()
            assert go_on.wait(PATIENCE_S)
            with lock:
                now[0] -= 1
            return super().prepare(*asked)

    with worker_harness(redis) as harness, ThreadPoolExecutor(4) as threads:
        harness.context = replace(harness.context, engine=Slow(MODEL))
        jobs = [harness.ask(f"look {n}", make.picture(size=(64, 48))) for n in range(4)]
        attempts = [threads.submit(harness.attempt) for _ in jobs]
        for _ in range(MIN_CONCURRENCY):
            assert inside.acquire(timeout=PATIENCE_S)
        go_on.set()
        for attempt in attempts:
            attempt.result(PATIENCE_S)
        assert [harness.text(job) for job in jobs] == [f"look {n} [64x48]" for n in range(4)]
    assert most[0] <= MIN_CONCURRENCY


@pytest.mark.parametrize("name", ["preparing", "pixels"])
def test_what_others_pictures_made_a_request_wait_is_not_told_as_computing(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    clock = [0.0]
    for module in ("worker.attempt", "worker.fair_semaphore"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=lambda: clock[0]))
    with worker_harness(redis) as harness, ThreadPoolExecutor(1) as threads:
        room = {"preparing": harness.context.preparing, "pixels": harness.context.picture_decoder._pixels}[
            name
        ]
        job = harness.ask("look", make.picture())
        with room.reserve(room._size, Waiter("mallory")):
            attempt = threads.submit(harness.attempt)
            until(lambda: room._waiting)
            clock[0] += 3600
        attempt.result(PATIENCE_S)
        result = harness.result(job)
    assert result.compute_s < 3600


def test_who_waits_for_a_format_keeps_no_pictures_of_others_waiting(redis: RedisServer) -> None:
    inside, go_on = threading.Semaphore(0), threading.Event()

    class Trying(EchoEngine):
        def grammar(self, request: Request, caller: str = "") -> Any:
            if "held" in str(request.messages):
                inside.release()
                assert go_on.wait(PATIENCE_S)
            return super().grammar(request, caller)

    with worker_harness(redis) as harness, ThreadPoolExecutor(MIN_CONCURRENCY) as threads:
        harness.context = replace(harness.context, engine=Trying(MODEL))
        for n in range(MIN_CONCURRENCY):
            harness.ask(f"held {n}", make.picture(size=(64, 48)))
        attempts = [threads.submit(harness.attempt) for _ in range(MIN_CONCURRENCY)]
        for _ in attempts:
            assert inside.acquire(timeout=PATIENCE_S)
        job = harness.ask("free", make.picture(size=(64, 48)))
        with ThreadPoolExecutor(1) as another:
            free = another.submit(harness.attempt)
            try:
                free.result(PATIENCE_S)
            finally:
                go_on.set()
        for attempt in attempts:
            attempt.result(PATIENCE_S)
        assert harness.text(job) == "free [64x48]"
