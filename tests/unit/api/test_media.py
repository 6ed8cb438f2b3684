import base64
from urllib.parse import quote

import pytest

from api.dialects.media import medium, prompt_parts
from shared.errors import CallerError
from shared.request import MOST_PICTURES, Document, Image, Medium, Sound, Text, Video
from shared.url_guard import MAX_URL_CHARS

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x00\xfb\xff\xfe~ picture"
B64 = base64.b64encode(PNG).decode()
DRAWING = "<svg a='ü, 5%'/>"
URL_SAFE = base64.urlsafe_b64encode(PNG).decode()


@pytest.mark.parametrize(
    "url", ["https://example.org/a.png", "http://example.org/a(1).png?x=1", "HTTPS://e.org/a"]
)
def test_http_urls_are_kept_as_they_are(url: str) -> None:
    assert medium(Image, f" {url}\n", "p") == Image(url=url, param="p")


@pytest.mark.parametrize(
    "value",
    [
        f"data:image/png;base64,{B64}",
        f"DATA:image/svg+xml;charset=utf-8;base64,{B64}",
        f"data:image/png;base64,{URL_SAFE}",
        f"data:image/png; base64, {B64}",
        f"data: image/png ;base64 ,{B64}",
        f"data:image/png;base64;charset=utf-8,{B64}",
        f"data:image/png;base64,data:image/png;base64,{B64}",
        f"data:application/octet-stream;base64, DATA:image/png; base64,{B64}",
        f"data:image/png;base64,{quote(B64, safe='')}",
        f"data:image/png;base64,{B64.rstrip('=')}",
        f"data:image/png;base64,{B64[:8]}\r\n {B64[8:]}\n",
        f"data:image/*;base64,{B64}",
        f"data:text/plain;base64,{B64}",
        f"data:audio/mpeg;base64,{B64}",
        # FileReader.readAsDataURL of a Blob without a type, and what some write for one.
        f"data:application/octet-stream;base64,{B64}",
        f"data:;base64,{B64}",
        *(B64, URL_SAFE, B64.rstrip("="), f"{B64[:8]}\n{B64[8:]}"),
    ],
)
@pytest.mark.parametrize("asked", [Image, Sound, Document, Video])
def test_a_picture_is_one_whatever_its_sender_calls_it(value: str, asked: type[Medium]) -> None:
    assert medium(asked, value, "p") == Image(data=PNG, param="p")


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"%PDF-1.7", Document), (b"fLaC", Sound), (b"\0\0\0\x18ftypisom", Video), (b"RIFF\0\0\0\0WAVE", Sound)],
)
def test_what_is_sent_as_a_picture_is_what_its_bytes_say(start: bytes, kind: type[Medium]) -> None:
    assert medium(Image, f"data:image/png;base64,{base64.b64encode(start).decode()}", "p") == kind(
        data=start, param="p"
    )


@pytest.mark.parametrize("payload", [f",{quote(DRAWING)}", f";utf8,{DRAWING}"])
def test_a_drawing_may_be_written_as_text_as_in_the_web(payload: str) -> None:
    assert medium(Image, f"data:image/svg+xml{payload}", "p") == Image(data=DRAWING.encode(), param="p")


@pytest.mark.parametrize(
    "value",
    [
        *("", "  ", "/etc/passwd", "/pictures/cat.png", "file:///etc/passwd", "FILE:/etc/passwd"),
        *("C:\\Users\\me\\cat.png", "\\\\host\\share", "./cat.png", "~/cat.png", "cat.png"),
        *("ftp://example.org/cat.png", "blob:https://example.org/1", "javascript:alert(1)", "gopher://x"),
        *("//example.org/cat.png", "https:", "data:,hello", "data:image/png,hello", "data:image/png;base64,"),
        *("data:image/png;base64,====", "data:image/png;base64,a", "data:image/png;base64,not base64!"),
        *("data:image/png;base64,äöü", "data:image/png;base64,%ff", "data:image/png;base64," + "%41" * 1000),
        *("data:" + "x" * 1000, "ä", "a", "https://example.org/" + "x" * MAX_URL_CHARS),
    ],
)
def test_anything_else_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(CallerError) as refused:
        medium(Image, value, "content[1].url")
    assert (refused.value.code, refused.value.param) == ("invalid_image_url", "content[1].url")
    assert len(refused.value.message) < 250


@pytest.mark.parametrize(
    ("words", "times"),
    [
        *(
            (words, 1)
            for words in ("", "What?", "a [link](https://e.org) and !bang", "![open](", "![a]", "![[]](")
        ),
        *((half, 100_000) for half in ("![", "![](", "![](a(", "![]((", "![](()")),
        ("![](" + "a()" * 1_000_000 + ")", 1),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_prompt_without_pictures_is_one_text_and_read_in_linear_time(words: str, times: int) -> None:
    assert prompt_parts(words * times) == (Text(text=words * times),)


def test_markdown_pictures_split_the_prompt_in_order() -> None:
    parts = prompt_parts(
        f"Compare ![](https://e.org/a_(1).png) and![the second](data:image/png;base64,{B64})"
    )
    assert parts == (
        Text(text="Compare "),
        Image(url="https://e.org/a_(1).png", param="inputs"),
        Text(text=" and"),
        Image(data=PNG, param="inputs"),
    )


@pytest.mark.parametrize("value", ["", " ", "data:image/png;base64,"])
def test_an_empty_file_is_called_empty(value: str) -> None:
    with pytest.raises(CallerError, match="is empty"):
        medium(Image, value, "p")


def test_a_markdown_picture_in_base64_may_have_line_breaks() -> None:
    wrapped = "\n".join(B64[at : at + 20] for at in range(0, len(B64), 20))
    parts = prompt_parts(f"![](data:image/png;base64,{wrapped}\n) What?")
    assert parts == (Image(data=PNG, param="inputs"), Text(text="What?"))


def test_no_more_pictures_are_read_than_any_installation_takes() -> None:
    parts = prompt_parts("![](http://e.org/a)" * 100_000)
    assert sum(isinstance(part, Image) for part in parts) == MOST_PICTURES + 1
    assert len(parts) == MOST_PICTURES + 2


@pytest.mark.parametrize("between", ["", " ", "\n"])
def test_a_question_behind_its_pictures_is_the_same_as_one_sent_apart(between: str) -> None:
    url = "https://e.org/a.png"
    assert prompt_parts(f"![]({url}){between}![]({url}){between}What?") == (
        Image(url=url, param="inputs"),
        Image(url=url, param="inputs"),
        Text(text="What?"),
    )
