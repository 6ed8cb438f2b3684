"""Reads media as callers write them: a URL, a data: URI, bare base64, or markdown in a prompt.

Bytes are what they begin like, whatever they are called. Everything else (paths, file://, ftp://, blob:) is
refused here, before anything is opened. The rest of the bytes, and where a URL leads, is checked later.
"""

import re
from typing import Annotated, Any, NotRequired, cast
from urllib.parse import unquote_to_bytes

from pybase64 import b64decode
from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.strict_json import invalid
from shared.errors import CallerError
from shared.media.files import ACCEPTED, KINDS, as_its_bytes, medium_of
from shared.request import MOST_PICTURES, Image, Medium, Part, Text
from shared.result import SeenPicture
from shared.url_guard import BUCKET_SCHEMES, MAX_URL_CHARS

# The alternative text may not hold `[`, so every start is scanned once; the target may hold sixteen
# pairs of (). Nothing is tried twice: backtracking would remember every step of a megabyte.
# Base64 may have line breaks.
_MARKDOWN = re.compile(r"!\[[^\[\]]*+\]\(((?i:data:)[^()]*+|[^()\s]*+(?:\([^()\s]*+\)[^()\s]*+){0,16}+)\)")
# All that encodeURIComponent escapes in base64 and its line breaks. A general unquote costs gigabytes.
_ESCAPES = {"%2b": "+", "%2f": "/", "%3d": "=", "%0a": "", "%0d": "", "%20": ""}
DATA_HEAD = r"(?i:data:[^,;]*+(?:;(?!\s*+base64\b)[^,;]*+)*+;\s*+base64\b[^,]*+,\s*+)++"
"""What a data: URI has before its base64. Some clients put it before a whole URI, so it may repeat."""
_DATA_HEAD = re.compile(DATA_HEAD)
_LONGEST_HEAD = 400
_MOST_ESCAPED = 1 << 20
"""Characters of a data: URI without base64."""
_EMPTY = "is empty; send the bytes of a file"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


def medium(kind: type[Medium], value: str, param: str) -> Medium:
    """Read one reference to what a field asks for (`kind`) or, as its bytes say, to something else.

    Raises CallerError `invalid_image_url` where a picture is asked for, else `invalid_document`,
    `invalid_audio` or `invalid_video`.
    """
    value = value.strip()
    head = value[:8].lower()
    if head.startswith(("http://", "https://", *BUCKET_SCHEMES)):
        if len(value) > MAX_URL_CHARS:
            raise _refusal(kind, param, f"is longer than {MAX_URL_CHARS} characters")
        return kind(url=value, param=param)
    if head.startswith("data:"):
        data = _from_data_uri(kind, value, param)
        return as_its_bytes(kind(data=data, param=param), data)
    try:
        data = _decoded(value)
    except ValueError:
        data = b""
    # A path from the root on may be base64, too, but not of a file.
    if not value:
        raise _refusal(kind, param, _EMPTY)
    if not data or (head.startswith("/") and medium_of(data, kind) is None):
        raise _refusal(kind, param, f"is neither an http(s) URL, nor a data: URI or base64 of {ACCEPTED}")
    return as_its_bytes(kind(data=data, param=param), data)


def pictures_beside(
    one: str | None, several: str | list[str] | None, at: str
) -> tuple[tuple[Medium, ...], str]:
    """The pictures of `image` or `images` beside a text, and the path of that field.

    Raises CallerError as `medium` does, and where both were sent.
    """
    if one is not None and several is not None:
        raise invalid(f"{at}.images", f"is sent beside `{at}.image`; send one of them")
    param, sent = (f"{at}.images", several) if one is None else (f"{at}.image", one)
    if isinstance(sent, list):
        return tuple(medium(Image, value, f"{param}[{i}]") for i, value in enumerate(sent)), param
    return (() if sent is None else (medium(Image, sent, param),)), param


def prompt_parts(prompt: str) -> tuple[Part, ...]:
    """Split a prompt at its markdown pictures, `![](url)`, keeping the order.

    Stops after the first picture too many for any installation. Raises CallerError `invalid_image_url`.
    """
    parts: list[Part] = []
    for number, piece in enumerate(_MARKDOWN.split(prompt, MOST_PICTURES + 1)):
        if number % 2:
            parts.append(medium(Image, piece, "inputs"))
            continue
        # `![](url) What?` is the same request as the picture and the text sent separately.
        leads = number and not any(isinstance(part, Text) for part in parts)
        if text := piece[1:] if leads and piece[:1].isspace() else piece:
            parts.append(Text(text=text))
    return tuple(parts) or (Text(text=""),)


def _from_data_uri(kind: type[Medium], value: str, param: str) -> bytes:
    prefix = _DATA_HEAD.match(value[:_LONGEST_HEAD])
    if prefix is None:
        return _plain(kind, value, param)
    payload = value[prefix.end() :]
    for escape, character in _ESCAPES.items() if "%" in payload else ():
        payload = payload.replace(escape, character).replace(escape.upper(), character)
    try:
        data = _decoded(payload)
    except ValueError:
        raise _refusal(kind, param, "holds no valid base64") from None
    if not data:
        raise _refusal(kind, param, _EMPTY)
    return data


def _plain(kind: type[Medium], value: str, param: str) -> bytes:
    """As drawings in SVG are written in the web: text, with escapes or without."""
    payload = value.partition(",")[2]
    data = unquote_to_bytes(payload) if len(payload) <= _MOST_ESCAPED else b""
    if medium_of(data, kind) is None:
        raise _refusal(kind, param, "is not a data:…;base64,… URI")
    return data


def _decoded(text: str) -> bytes:
    """Reads base64 as clients send it: with the URL-safe alphabet, line breaks or without padding.

    Raises ValueError.
    """
    try:
        # Most send it as it should be, and what follows copies a large file three times.
        return b64decode(text, validate=True)
    except ValueError:
        raw = text.encode("ascii").translate(_TO_STANDARD, b" \t\r\n").rstrip(b"=")
        return b64decode(raw + b"=" * (-len(raw) % 4), validate=True)


def _refusal(kind: type[Medium], param: str, reason: str) -> CallerError:
    return CallerError(KINDS[kind].url_code, f"`{param}` {reason}.", param=param)


class PictureSize(TypedDict):
    width: int
    height: int


class PictureUsage(PictureSize):
    """A picture as the model saw it: in pixels."""

    tokens: NotRequired[Annotated[int, Field(description="Where they can be told apart.")]]
    original: NotRequired[Annotated[PictureSize, Field(description="As sent, where that differs.")]]


def to_picture(picture: SeenPicture) -> PictureUsage:
    answer: dict[str, Any] = picture.model_dump(exclude={"original"})
    if picture.original:
        answer["original"] = dict(zip(("width", "height"), picture.original, strict=True))
    return cast(PictureUsage, answer)
