"""A few kilobytes that would become gigabytes once a model's image processor squares them."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.Image import Image as Picture

from shared.request import Request
from shared.settings import PictureSettings
from tests.support import pictures as make
from tests.support.redis_server import RedisServer
from tests.support.workbench import MODEL, workbench
from worker.attempt import PREPARED_AT_ONCE
from worker.engines.base import Prompt
from worker.engines.echo import EchoEngine
from worker.images import Decoder

ROOT = Path(__file__).parents[2]
SIDE = PictureSettings().max_side

# The pictures are decoded by children, which may not be limited below what they need to start.
PREPARING = """
import sys
from pathlib import Path
from transformers import AutoConfig, AutoProcessor
from shared.request import Image, Message, Request
from shared.settings import PictureSettings
from worker.engines.prompt import Renderer
from worker.images import Decoder
from worker.pixels import limit_memory

tiny = Path("models/tiny")
renderer = Renderer(AutoProcessor.from_pretrained(tiny), AutoConfig.from_pretrained(tiny))
decoder = Decoder(PictureSettings())
pictures = [decoder.decode(Path(name).read_bytes(), None) for name in sys.argv[1:]]
asked = Request(model="m", messages=(Message(role="user", parts=(Image(digest="x"),)),))
limit_memory(1024)
for picture in pictures:
    print(renderer.prompt(asked, [picture]).image_tokens)
"""


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(PictureSettings())
    yield decoder
    decoder.close()


def test_a_picture_of_a_few_kilobytes_does_not_take_the_workers_memory(tmp_path: Path) -> None:
    files = [tmp_path / "wide.png", tmp_path / "tall.png"]
    for file, size in zip(files, [(40_000, 800), (800, 40_000)], strict=True):
        file.write_bytes(make.picture("PNG", size, "1"))
        assert file.stat().st_size < 20_000
    command = [sys.executable, "-W", "ignore", "-c", PREPARING, *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [b"64", b"64"]), done.stderr[-2000:]


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((40_000, 800), (SIDE, 82)),
        ((800, 40_000), (82, SIDE)),
        ((SIDE + 904, 1000), (SIDE, 819)),
        ((SIDE, 100), (SIDE, 100)),
    ],
)
def test_a_picture_is_shrunk_to_the_longest_side_and_keeps_its_shape(
    decoder: Decoder, size: tuple[int, int], seen: tuple[int, int]
) -> None:
    assert decoder.decode(make.picture("PNG", size, "L"), None).size == seen


def test_a_picture_within_the_limit_keeps_every_pixel(decoder: Decoder) -> None:
    noise = Image.effect_noise((640, 480), 80).convert("RGB")
    assert decoder.decode(make.encoded(noise, "PNG"), None).tobytes() == noise.tobytes()


def test_few_requests_have_their_pictures_in_memory_at_once(redis: RedisServer) -> None:
    """Two are prepared at a time; the third begins only when one of them is done."""
    inside, go_on = threading.Semaphore(0), threading.Event()
    most, now, lock = [0], [0], threading.Lock()

    class Slow(EchoEngine):
        def prepare(self, request: Request, pictures: Sequence[Picture], scope: str = "") -> Prompt:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            inside.release()
            assert go_on.wait(30)
            with lock:
                now[0] -= 1
            return super().prepare(request, pictures, scope)

    with workbench(redis) as desk, ThreadPoolExecutor(4) as threads:
        desk.bench = replace(desk.bench, engine=Slow(MODEL))
        jobs = [desk.ask(f"look {n}", make.picture(size=(64, 48))) for n in range(4)]
        attempts = [threads.submit(desk.attempt) for _ in jobs]
        for _ in range(PREPARED_AT_ONCE):
            assert inside.acquire(timeout=30)
        go_on.set()
        for attempt in attempts:
            attempt.result(30)
        assert [desk.text(job) for job in jobs] == [f"look {n} [64x48]" for n in range(4)]
    assert most[0] <= PREPARED_AT_ONCE


def test_who_waits_for_a_format_keeps_no_pictures_of_others_waiting(redis: RedisServer) -> None:
    inside, go_on = threading.Semaphore(0), threading.Event()

    class Trying(EchoEngine):
        def grammar(self, request: Request) -> Any:
            if "held" in str(request.messages):
                inside.release()
                assert go_on.wait(30)
            return super().grammar(request)

    with workbench(redis) as desk, ThreadPoolExecutor(PREPARED_AT_ONCE) as threads:
        desk.bench = replace(desk.bench, engine=Trying(MODEL))
        for n in range(PREPARED_AT_ONCE):
            desk.ask(f"held {n}", make.picture(size=(64, 48)))
        attempts = [threads.submit(desk.attempt) for _ in range(PREPARED_AT_ONCE)]
        for _ in attempts:
            assert inside.acquire(timeout=30)
        job = desk.ask("free", make.picture(size=(64, 48)))
        with ThreadPoolExecutor(1) as another:
            free = another.submit(desk.attempt)
            try:
                free.result(30)
            finally:
                go_on.set()
        for attempt in attempts:
            attempt.result(30)
        assert desk.text(job) == "free [64x48]"
