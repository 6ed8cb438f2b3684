"""Reads media as callers write them: a URL, a data: URI, bare base64, or markdown in a prompt.

Everything else (paths, file://, ftp://, blob:) is refused here, before anything is opened. The bytes
themselves, and where a URL leads, are checked later.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from pybase64 import b64decode

from shared.errors import CallerError
from shared.media.pictures import IS_DOCUMENT
from shared.request import MOST_PICTURES, Document, Image, Part, Sound, Text, Video
from shared.url_guard import BUCKET_SCHEMES, MAX_URL_CHARS

# The alternative text may not hold `[`, so every start is scanned once; the target may hold sixteen
# pairs of (). Nothing is tried twice: backtracking would remember every step of a megabyte.
# Base64 may have line breaks.
_MARKDOWN = re.compile(r"!\[[^\[\]]*+\]\((data:[^()]*+|[^()\s]*+(?:\([^()\s]*+\)[^()\s]*+){0,16}+)\)")
# All that encodeURIComponent escapes in base64 and its line breaks. A general unquote costs gigabytes.
_ESCAPES = {"%2b": "+", "%2f": "/", "%3d": "=", "%0a": "", "%0d": "", "%20": ""}
_PDF_URI = "data:application/pdf"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


def _data_uri(family: str) -> re.Pattern[str]:
    """RFC 2397, base64 only. Browsers write bytes of unknown type as octet-stream, or without a type."""
    kinds = rf"(?:{family}/[\w.+-]+|application/octet-stream)?"
    return re.compile(rf"data:{kinds}(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)


class _Kind(NamedTuple):
    """How errors name a medium, and their code; base64 of one may begin with `start`, like a path or not."""

    noun: str
    family: str
    code: str
    uri: re.Pattern[str]
    start: str


_PICTURE = _Kind("picture", "image", "invalid_image_url", _data_uri("image"), "/9j/")
_DOCUMENT = _Kind("document", "application", "invalid_document", _data_uri("(?:application|image)"), "JVBER")
_SOUND = _Kind("sound", "audio", "invalid_audio", _data_uri("audio"), "//")
_VIDEO = _Kind("video", "video", "invalid_video", _data_uri("video"), "AAAA")
_KINDS: Mapping[type, _Kind] = {Image: _PICTURE, Sound: _SOUND, Document: _DOCUMENT, Video: _VIDEO}


M = TypeVar("M", Image, Sound, Document, Video)


def medium(kind: type[M], value: str, param: str, *, bare_base64: bool) -> M:
    """Read one reference; `bare_base64` is for the families whose clients send it.

    Raises CallerError: `invalid_image_url` for a picture, `invalid_document`, `invalid_audio` or
    `invalid_video`.
    """
    url, data = _read(_KINDS[kind], value, param, bare_base64)
    return kind(url=url, data=data, param=param)


def prompt_parts(prompt: str) -> tuple[Part, ...]:
    """Split a prompt at its markdown pictures, `![](url)`, keeping the order.

    Stops after the first picture too many for any installation. Raises CallerError `invalid_image_url`.
    """
    parts: list[Part] = []
    for number, piece in enumerate(_MARKDOWN.split(prompt, MOST_PICTURES + 1)):
        if number % 2:
            parts.append(medium(Image, piece, "inputs", bare_base64=False))
            continue
        # `![](url) What?` is the same request as the picture and the text sent separately.
        leads = number and not any(isinstance(part, Text) for part in parts)
        if text := piece[1:] if leads and piece[:1].isspace() else piece:
            parts.append(Text(text=text))
    return tuple(parts) or (Text(text=""),)


def _read(kind: _Kind, value: str, param: str, bare_base64: bool) -> tuple[str | None, bytes | None]:
    """A URL, or the bytes."""
    value = value.strip()
    head = value[:8].lower()
    if head.startswith("data:"):
        return None, _from_data_uri(kind, value, param)
    expected = "an http(s) URL, a data: URI or base64" if bare_base64 else "an http(s) URL or a data: URI"
    advice = f" Send {expected}."
    if head.startswith(("http://", "https://", *BUCKET_SCHEMES)):
        if len(value) > MAX_URL_CHARS:
            raise _refusal(kind, param, f"is longer than {MAX_URL_CHARS} characters", advice)
        return value, None
    # Anything else that starts with a slash is a path.
    if bare_base64 and (head.startswith(kind.start) or not head.startswith("/")):
        return None, _from_base64(kind, value, param, advice)
    raise _refusal(kind, param, f"is no {kind.noun}'s address", advice)


def _from_data_uri(kind: _Kind, value: str, param: str) -> bytes:
    prefix = kind.uri.match(value[:400])
    if prefix is None:
        is_document = kind is _PICTURE and value[: len(_PDF_URI)].lower() == _PDF_URI
        wanted = f"is not a data:{kind.family}/…;base64,… URI"
        raise _refusal(kind, param, IS_DOCUMENT if is_document else wanted)
    payload = value[prefix.end() :]
    for escape, character in _ESCAPES.items() if "%" in payload else ():
        payload = payload.replace(escape, character).replace(escape.upper(), character)
    return _from_base64(kind, payload, param)


def _from_base64(kind: _Kind, text: str, param: str, advice: str = "") -> bytes:
    try:
        data = _decoded(text)
    except ValueError:
        reason = "is neither a URL nor valid base64" if advice else "holds no valid base64"
        raise _refusal(kind, param, reason, advice) from None
    if not data:
        raise _refusal(kind, param, f"holds no {kind.noun}", advice)
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


def _refusal(kind: _Kind, param: str, reason: str, advice: str = "") -> CallerError:
    return CallerError(kind.code, f"`{param}` {reason}.{advice}", param=param)
