"""What is checked of any medium's file before it is stored, whichever way it came."""

from shared.errors import CallerError
from shared.media.documents import DOCUMENT, selected
from shared.media.kinds import Kind
from shared.media.picture_headers import picture_format
from shared.media.pictures import PICTURE, PictureInfo, inspect
from shared.media.sounds import SOUND, check_sound
from shared.request import Document, Image, Medium, Request, Sound, Video
from shared.settings import Settings

# What an MP4 or MOV may begin with; files of cameras before 2001 have no `ftyp`.
BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def video_format(data: bytes) -> str | None:
    """As FFmpeg calls it: MP4 and MOV are one, and WebM is a kind of MKV. None if it is none of them."""
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    # HEIC and AVIF are pictures in a box like a video's, and an M4A is nothing to be seen.
    return "mov" if data[4:8] in BOXES and data[8:11] != b"M4A" and not picture_format(data) else None


VIDEO = Kind(
    "video",
    "invalid_video",
    "invalid_video",
    "an MP4, MOV, WebM, MKV or AVI",
    "video/mp4, video/webm, video/quicktime, video/x-matroska, video/x-msvideo",
    video_format,
)


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
