"""What a video is by its first bytes; `worker.media.video_decoder` finds out the rest, in a process."""

from shared.media.kinds import Kind
from shared.media.picture_headers import picture_format

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
