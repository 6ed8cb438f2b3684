"""Strangers' documents: pages as a viewer shows them, refusals that name the page, no lasting harm."""

import io
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from PIL import Image, TiffImagePlugin

from shared.errors import CallerError
from shared.media.decode_document import ORIENTATION, SUBFILE_TYPE
from shared.media.documents import DocumentRenderer, OpenDocument
from shared.request import Document
from shared.request import Image as Picture
from shared.settings import DocumentSettings, Settings
from shared.store.admission import JobTerms, Placing, submit
from tests.attempt.test_intake import HELD, courier_of, serving
from tests.support.attempt_harness import WorkerHarness, worker_harness
from tests.support.documents import bomb, frames, locked, lying_tiff, pdf, stream, written
from tests.support.existing import existing
from tests.support.fetching import LOOPBACK
from tests.support.pictures import encoded, origin
from tests.support.redis_server import RedisServer

TWO_PAGES = HELD.replace('"max_pictures":null', '"max_pictures":2')
SCRIPT = "/OpenAction<</S/JavaScript/JS(while(true){})>>"
WEB = "/OpenAction<</S/URI/URI(http://127.0.0.1:9/)>>"


@pytest.fixture(scope="module")
def renderer() -> Iterator[DocumentRenderer]:
    renderer = DocumentRenderer(Settings(), places=1)
    yield renderer
    renderer.close()


def shown(document: OpenDocument, number: int) -> bytes:
    (picture,) = document.page(number)
    return picture.data or b""


def page(renderer: DocumentRenderer, data: bytes, number: int = 1) -> Image.Image:
    with renderer.opened(data, "file") as document:
        return Image.open(io.BytesIO(shown(document, number)))


def test_what_was_written_into_a_form_is_seen(renderer: DocumentRenderer) -> None:
    form = written(
        [
            b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]>>>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 300]/Annots[4 0 R]>>",
            b"<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(x)/Rect[0 0 200 300]/F 4/P 3 0 R/AP<</N 5 0 R>>>>",
            stream(b"0 0 1 rg 0 0 200 300 re f", "/Type/XObject/Subtype/Form/BBox[0 0 200 300]"),
        ]
    )
    assert page(renderer, form).getpixel((100, 100)) == (0, 0, 255)


RECEIPT = pdf(["top"], (0, 0, 600, 20_000))


@pytest.mark.parametrize(
    ("data", "side"),
    [
        (RECEIPT, 0),
        (RECEIPT.replace(b"/MediaBox", b"/Rotate 90/MediaBox"), 1),
        (frames("TIFF", ["red"], (300, 9000)), 0),
        (frames("GIF", ["red"], (9000, 300)), 1),
    ],
)
def test_a_long_page_is_seen_in_pieces_wide_enough_to_read(
    renderer: DocumentRenderer, data: bytes, side: int
) -> None:
    with renderer.opened(data, "file") as document:
        seen = [Image.open(io.BytesIO(piece.data or b"")).size for piece in document.page(1)]
    assert (document.count, len(seen) > 10) == (1, True)
    assert all(size[side] >= 300 and max(size) <= DocumentSettings().page_side for size in seen)


def with_picture(data: bytes, turn: int = 0) -> bytes:
    """A page with a bar above a picture in JPEG."""
    fields = "/Type/XObject/Subtype/Image/Width 8/Height 8/ColorSpace/DeviceRGB/BitsPerComponent 8"
    resources = b"/Resources<</XObject<</A 5 0 R>>>>"
    return written(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 300]/Rotate %d/Contents 4 0 R%b>>"
            % (turn, resources),
            stream(b"0 0 1 rg 0 250 200 50 re f q 80 0 0 80 10 100 cm /A Do Q"),
            stream(data, f"{fields}/Filter/DCTDecode"),
        ]
    )


@pytest.mark.parametrize("turn", [0, 90, 180])
def test_a_page_whose_picture_cannot_be_decoded_is_named_and_not_seen_white(
    renderer: DocumentRenderer, turn: int
) -> None:
    white = encoded(Image.new("RGB", (8, 8), "white"), "JPEG")
    assert page(renderer, with_picture(white, turn))
    refused = refusal(renderer, with_picture(b"no picture" * 20, turn))
    assert "Page 1 of the document" in refused
    assert "its picture 1 cannot be decoded" in refused


def refusal(renderer: DocumentRenderer, data: bytes, number: int = 1) -> str:
    with pytest.raises(CallerError) as refused:
        page(renderer, data, number)
    assert (refused.value.code, refused.value.param) == ("invalid_document", "file")
    return refused.value.message


def test_a_page_looks_the_same_each_time_and_has_the_size_that_was_set(renderer: DocumentRenderer) -> None:
    with renderer.opened(pdf(["one", "two", "one"]), None) as document:
        first, second, third = (shown(document, number) for number in (1, 2, 3))
    assert first == third != second
    assert max(Image.open(io.BytesIO(first)).size) == DocumentSettings().page_side


def test_a_webp_of_a_wrong_riff_size_shows_all_pages(renderer: DocumentRenderer) -> None:
    data = bytearray(frames("WEBP", ["red", "lime"]))
    data[4] += 2
    assert page(renderer, bytes(data), 2).getpixel((9, 9)) == (0, 255, 0)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP"])
def test_each_frame_is_a_page_in_its_own_colours(renderer: DocumentRenderer, kind: str) -> None:
    data = frames(kind, ["red", "lime", "blue"])
    shown = [page(renderer, data, number).getpixel((9, 9)) for number in (1, 2, 3)]
    assert shown == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    ("dpi", "orientation", "size"),
    [
        ((204, 98), 1, (204, 208)),
        ((204, 98), 6, (208, 204)),
        ((98, 204), 1, (208, 204)),
        ((204, 196), 1, (204, 100)),
        ((204, 20), 1, (204, 100)),
        ((0, 98), 1, (204, 100)),
    ],
)
def test_a_fax_is_not_seen_squeezed(
    renderer: DocumentRenderer, dpi: tuple[int, int], orientation: int, size: tuple[int, int]
) -> None:
    stored = Image.new("1", (204, 100) if dpi[0] != 98 else (100, 204))
    fax = encoded(stored, "TIFF", dpi=dpi, tiffinfo={ORIENTATION: orientation})
    assert page(renderer, fax).size == size
    with renderer.opened(fax, None) as document:
        assert shown(document, 1) == shown(document, 1)


def test_the_smaller_copies_in_a_scan_are_no_pages(renderer: DocumentRenderer) -> None:
    scan = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(scan) as file:
        for colour, subfile_type in (("red", 2), ("lime", 1), ("blue", 0), ("black", 3)):
            Image.new("RGB", (64, 48), colour).save(file, "TIFF", tiffinfo={SUBFILE_TYPE: subfile_type})
            file.newFrame()
    with renderer.opened(scan.getvalue(), None) as document:
        pages = [Image.open(io.BytesIO(shown(document, number))) for number in (1, 2)]
        assert document.count == 2
    assert [shown.getpixel((0, 0)) for shown in pages] == [(255, 0, 0), (0, 0, 255)]


def test_a_lone_frame_is_a_page_though_it_says_that_it_is_a_copy(renderer: DocumentRenderer) -> None:
    copy = encoded(Image.new("RGB", (64, 48), "red"), "TIFF", tiffinfo={SUBFILE_TYPE: 1})
    assert page(renderer, copy).getpixel((0, 0)) == (255, 0, 0)


def test_a_page_of_16_bits_keeps_its_grey(renderer: DocumentRenderer) -> None:
    grey = encoded(Image.new("I;16", (64, 48), 25_500), "TIFF")
    assert page(renderer, grey).getpixel((0, 0)) == (99, 99, 99)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_a_page_of_floats_or_32_bits_is_refused_not_seen_black(renderer: DocumentRenderer, mode: str) -> None:
    data = encoded(Image.new(mode, (64, 48), 1), "TIFF")
    assert "samples are floats, signed or 32-bit numbers; save it with 8 or 16" in refusal(renderer, data)


@pytest.mark.parametrize(
    "data",
    [
        pdf(["a"], catalogue=SCRIPT),
        pdf(["a"], catalogue=WEB),
        pdf(["a"], (0, 0, 1e30, 1e30)),
        pdf(["a"], (0, 0, 0, 0)),
        pdf(["a"], count=10**9),
        pdf(["a"]).replace(b"xref\n0", b"xxxx\n9"),
        pdf(["a"] * 10_000),
        partial(frames, "WEBP", ["red", "green"] * 5000, (8, 8)),
    ],
    ids=[
        "script",
        "link",
        "huge box",
        "no box",
        "lying count",
        "broken table",
        "10000 pages",
        "10000 frames",
    ],
)
def test_what_is_odd_but_has_a_page_is_shown_and_runs_nothing(
    renderer: DocumentRenderer, data: bytes | Callable[[], bytes]
) -> None:
    whole = data() if callable(data) else data
    assert max(page(renderer, whole).size) <= DocumentSettings().page_side


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (locked(), "password"),
        (pdf([]), "no pages"),
        (pdf(["a"] * 10)[:900], "damaged"),
        (b"%PDF-1.7", "damaged"),
        (b"II*\0" + b"\xff" * 64, "damaged"),
        (b"GIF89a", "damaged"),
        (b"RIFF\0\0\0\0WEBP", "damaged"),
        (b"%!PS", "not a PDF, TIFF, WebP or GIF"),
        (pdf(["a"], (0, 0, 1, 14400)), "Page 1 .* 200 times"),
        (bomb, "Page 1 .* died"),
        (lying_tiff((60_000, 60_000)), "Page 1 .* megapixels"),
        (lying_tiff((6000, 6000)), "Page 1 .* damaged"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused_with_the_reason_and_the_next_one_is_not(
    renderer: DocumentRenderer, data: bytes | Callable[[], bytes], words: str
) -> None:
    with pytest.raises(CallerError, match=words):
        page(renderer, data() if callable(data) else data)
    assert page(renderer, pdf(["a"])).size


def test_a_page_that_takes_too_long_is_named_and_the_others_are_shown() -> None:
    limits = DocumentSettings(decode_limit_s=0.1, page_side=4096)
    slow = DocumentRenderer(Settings(documents=limits), places=1)
    data = frames("TIFF", ["red", "green"], (5000, 5000))
    small = frames("TIFF", ["red"])
    try:
        assert "Page 1 of the document cannot be rendered: it took longer than 0.1 s" in refusal(slow, data)
        assert page(slow, small).size == (64, 48)
    finally:
        slow.close()


def test_a_process_that_is_killed_from_outside_costs_no_page(renderer: DocumentRenderer) -> None:
    with renderer.opened(pdf(["one", "two"]), "") as document:
        before = shown(document, 1)
        process = existing(document._process)
        os.kill(process._process.pid, signal.SIGKILL)
        assert shown(document, 1) == before


def document_job(harness: WorkerHarness, body: bytes) -> Placing:
    """A courier fetched the document that a job asks about."""
    courier = courier_of(harness)
    with origin(serving(body)) as there:
        placing = harness.placing("look", (Document(url=there.url),))
        job_terms = JobTerms(pending_terms=TWO_PAGES)
        assert harness.store.run(submit(placing, harness.settings, job_terms)).word == "intake"
        courier.work()
    courier.renderer.close()
    return placing


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (pdf(["one", "two"]), ""),
        (
            pdf(["one", "two", "three"]),
            "3 pages are asked about, and 2 fit into this question (max_pictures of",
        ),
        (locked(), "password"),
        (b"x", "not a PDF"),
    ],
)
def test_a_document_of_a_url_becomes_pages_before_its_job_waits_or_ends_it_with_the_reason(
    redis: RedisServer, body: bytes, told: str
) -> None:
    with worker_harness(redis, fetch=LOOPBACK) as harness:
        placing = document_job(harness, body)
        if not told:
            harness.attempt()
            assert harness.text(placing.job) == "look [1131x1600] [1131x1600]"
        else:
            error = harness.failure(placing.job)
            assert (error.code, error.param) == ("invalid_document", "documents[0]")
            assert told in error.message


def test_a_cancelled_jobs_next_pages_are_not_made(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, rendered, page_of = pdf(["one", "two"]), list[int](), OpenDocument.page
    with worker_harness(redis, fetch=LOOPBACK) as harness:

        def cancelled(document: OpenDocument, number: int) -> Iterator[Picture]:
            rendered.append(number)
            for lease in harness.leases.all():
                lease.stop("lost")
            return page_of(document, number)

        monkeypatch.setattr(OpenDocument, "page", cancelled)
        document_job(harness, body)
    assert rendered == [1]
