"""What is checked of any medium's file before it is stored, whichever way it came."""

from collections.abc import Callable

from shared.media import sounds, videos
from shared.media.documents import document_format
from shared.media.pictures import PictureInfo, inspect, picture_format
from shared.request import Document, Image, Media, Sound, Video
from shared.settings import Settings

URL_CODES: dict[type[Media], str] = {
    Image: "invalid_image_url",
    Sound: "invalid_audio",
    Document: "invalid_document",
    Video: "invalid_video",
}
"""Codes of a refused address."""


def medium_of(data: bytes) -> type[Media] | None:
    """What a file is by its first bytes, whatever its sender calls it; None where it is of no accepted kind.

    A TIFF, WebP or GIF is a picture here, and a document of pages where one is asked for.
    """
    formats: dict[type[Media], Callable[[bytes], str | None]] = {
        Image: picture_format,
        Document: document_format,
        Sound: sounds.sound_format,
        Video: videos.video_format,
    }
    return next((medium for medium, format_of in formats.items() if format_of(data)), None)


def inspect_file(kind: type[Media], data: bytes, settings: Settings, param: str | None) -> PictureInfo | None:
    """What a picture's headers say; None for a sound or video.

    Raises CallerError `invalid_image`, `invalid_audio`, `invalid_video`, `payload_too_large` for one that is
    unusable on its own.
    """
    if kind is Image:
        return inspect(data, settings.pictures, param)
    if kind is Video:
        videos.check_video(data, settings.videos, param)
    else:
        sounds.check_sound(data, settings.sounds, param)
    return None
