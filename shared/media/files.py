"""What is checked of any medium's file before it is stored, whichever way it came."""

from collections.abc import Callable

from shared.media import sounds, videos
from shared.media.documents import check_size, document_format, selected
from shared.media.pictures import PictureInfo, inspect, picture_format
from shared.request import Document, Image, Medium, Sound, Video
from shared.settings import Settings

URL_CODES: dict[type[Medium], str] = {
    Image: "invalid_image_url",
    Sound: "invalid_audio",
    Document: "invalid_document",
    Video: "invalid_video",
}
"""Codes of a refused address."""


FORMATS: dict[type[Medium], Callable[[bytes], str | None]] = {
    Image: picture_format,
    Document: document_format,
    Sound: sounds.sound_format,
    Video: videos.video_format,
}
ACCEPTED = "a picture, document (PDF, TIFF), sound (WAV, FLAC, MP3) or video (MP4, MOV, WebM, MKV, AVI)"


def medium_of(data: bytes, asked: type[Medium] = Image) -> type[Medium] | None:
    """What a file is by its first bytes, whatever its sender calls it; None where it is of no accepted kind.

    A TIFF, WebP or GIF is a picture, and a document of pages where one is `asked` for.
    """
    return next((kind for kind in (asked, *FORMATS) if FORMATS[kind](data)), None)


def as_its_bytes(part: Medium, data: bytes) -> Medium:
    """A part as what its file begins with. Raises CallerError `invalid_document` where `pages` fits none."""
    kind = medium_of(data, type(part)) or type(part)
    if isinstance(part, kind):
        return part
    if isinstance(part, Document):
        selected(part.pages, 1, part.param)
    return kind(url=part.url, data=part.data, file=part.file, param=part.param)


def inspect_file(
    kind: type[Medium], data: bytes, settings: Settings, param: str | None
) -> PictureInfo | None:
    """What a picture's headers say; None for what is no picture.

    Raises CallerError `invalid_image`, `invalid_audio`, `invalid_video`, `payload_too_large` for one that is
    unusable on its own.
    """
    if kind is Image:
        return inspect(data, settings.pictures, param)
    if kind is Document:
        check_size(len(data), settings, param)
    elif kind is Video:
        videos.check_video(data, settings.videos, param)
    else:
        sounds.check_sound(data, settings.sounds, param)
    return None
