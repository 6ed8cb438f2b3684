"""The settings of sounds; `shared.settings` puts them among the others."""

from pydantic import Field

from shared.settings.group import Group


class SoundSettings(Group):
    """Limits on what strangers send to be heard."""

    max_mb: float = Field(10, gt=0, description="Largest audio file in MiB.")
    max_s: float = Field(30, gt=0, le=600, description="Longest audio, in seconds.")
    max_count: int = Field(4, ge=1, le=16, description="Audio files in one request.")
    decode_limit_s: float = Field(
        5,
        gt=0,
        description="Processor time for decoding one audio file.",
    )
    decode_memory_mb: int = Field(
        400,
        ge=64,
        description="Memory of a decoding process in MiB; raise it with max_s. A second of stereo "
        "at 48 kHz takes about 1.",
    )
