"""What is checked of any medium's file before it is stored, whichever way it came."""

from shared.media import sounds, videos
from shared.media.pictures import PictureInfo, inspect
from shared.request import Document, Image, Media, Sound, Video
from shared.settings import Settings

URL_CODES: dict[type[Media], str] = {
    Image: "invalid_image_url",
    Sound: "invalid_audio",
    Document: "invalid_document",
    Video: "invalid_video",
}
"""Codes of a refused address."""


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
