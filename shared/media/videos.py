"""What is checked of a video before a decoder sees it: its kind by its first bytes, its size, and its model.

No decoder runs here. `worker.media.video_decoder` finds out the rest, in a process of its own.
"""

from collections.abc import Sequence
from typing import Literal

from shared.errors import CallerError
from shared.media.pictures import picture_format
from shared.request import Request
from shared.settings import VideoSettings

VideoFormat = Literal["mov", "matroska", "avi"]
"""As FFmpeg calls them: MP4 and MOV are one, and WebM is a kind of MKV."""
# What an MP4 or MOV may begin with; files of cameras before 2001 have no `ftyp`.
BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def video_format(data: bytes) -> VideoFormat | None:
    """None if the first bytes are those of no accepted kind."""
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    # HEIC and AVIF are pictures in a box like a video's.
    return "mov" if data[4:8] in BOXES and not picture_format(data) else None


def check_size(size: int, limits: VideoSettings, param: str | None) -> None:
    """Raises CallerError `payload_too_large`."""
    if size > limits.max_mb * 2**20:
        message = f"A video may have at most {limits.max_mb:g} MiB; send a smaller or shorter one."
        raise CallerError("payload_too_large", message, param=param)


def check_video(data: bytes, limits: VideoSettings, param: str | None) -> VideoFormat:
    """Raises CallerError `payload_too_large`, `invalid_video`."""
    check_size(len(data), limits, param)
    if not data:
        raise invalid("it is empty", param)
    if (kind := video_format(data)) is None:
        raise invalid("it is not an MP4, MOV, WebM, MKV or AVI", param)
    return kind


def invalid(reason: str, param: str | None) -> CallerError:
    return CallerError("invalid_video", f"The video cannot be used: {reason}.", param=param)


def check_count(params: Sequence[str], limits: VideoSettings) -> None:
    """`params` are where the videos stand in the request.

    Raises CallerError `invalid_video` naming the first that is one too many.
    """
    if len(params) > limits.max_count:
        most = f"at most {limits.max_count} are accepted (SIGHTLINE_VIDEOS__MAX_COUNT)"
        message = f"The request has {len(params)} videos; {most}."
        raise CallerError("invalid_video", message, param=params[limits.max_count])


def check_accepts_video(request: Request, accepts: bool | None) -> None:
    """`accepts` is whether the model takes videos, None while that is unknown.

    Raises CallerError `unsupported_parameter`.
    """
    if accepts is False and request.videos:
        message = f"The model {request.model} takes no videos; GET /v1/models says which models do."
        param = request.videos[0].param or "messages"
        raise CallerError("unsupported_parameter", message, param=param)
