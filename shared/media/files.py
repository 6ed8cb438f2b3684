"""What is checked of any medium's file before it is stored, whichever way it came."""

from shared.errors import CallerError
from shared.media.documents import DOCUMENT, selected
from shared.media.kinds import Kind
from shared.media.pictures import PICTURE, PictureInfo, inspect
from shared.media.sounds import SOUND, check_sound
from shared.media.videos import VIDEO
from shared.request import Document, Image, Medium, Request, Sound, Video
from shared.settings import Settings

KINDS: dict[type[Medium], Kind] = {Image: PICTURE, Document: DOCUMENT, Sound: SOUND, Video: VIDEO}
ACCEPTED = "a picture, document (PDF, TIFF), sound (WAV, FLAC, MP3) or video (MP4, MOV, WebM, MKV, AVI)"


def medium_of(data: bytes, asked: type[Medium] = Image) -> type[Medium] | None:
    """What a file is by its first bytes, whatever its sender calls it; None where it is of no accepted kind.

    A TIFF, WebP or GIF is a picture, and a document of pages where one is `asked` for.
    """
    return next((kind for kind in (asked, *KINDS) if KINDS[kind].format(data)), None)


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
    if kind is Sound:
        check_sound(data, settings.sounds, param)
    else:
        KINDS[kind].check(data, KINDS[kind].limits(settings), param)
    return None


def check_accepts(request: Request, sampling_rate: int | None, videos: bool | None) -> None:
    """What the model says of sounds and videos: 0 or False if it takes none, None while that is unknown.

    Raises CallerError `unsupported_parameter`.
    """
    for media, taken, noun in ((request.sounds, sampling_rate, "audio"), (request.videos, videos, "videos")):
        if media and taken is not None and not taken:
            message = f"The model {request.model} takes no {noun}; GET /v1/models says which models do."
            raise CallerError("unsupported_parameter", message, param=media[0].param or "messages")
