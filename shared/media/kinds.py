"""What the kinds of media have in common: their names, their codes, and limits of size and number."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from shared.errors import CallerError
from shared.settings import DocumentSettings, PictureSettings, Settings, SoundSettings, VideoSettings

Counted = PictureSettings | SoundSettings | VideoSettings
Limits = Counted | DocumentSettings


class Kind(NamedTuple):
    """A kind of medium: its noun and codes for callers, and what tells the format by a file's first bytes."""

    noun: str
    code: str
    url_code: str
    formats: str
    media_types: str
    """What an origin is asked for."""
    format: Callable[[bytes], str | None]

    def limits(self, settings: Settings) -> Any:
        return getattr(settings, f"{self.noun}s")

    def invalid(self, reason: str, param: str | None) -> CallerError:
        return CallerError(self.code, f"The {self.noun} cannot be used: {reason}.", param=param)

    def check_size(self, size: int, limits: Limits, param: str | None) -> None:
        """Raises CallerError `payload_too_large`."""
        if size > limits.max_mb * 2**20:
            most = f"{limits.max_mb:g} MiB (SIGHTLINE_{self.noun.upper()}S__MAX_MB)"
            raise CallerError("payload_too_large", f"A {self.noun} may have at most {most}.", param=param)

    def check(self, data: bytes, limits: Limits, param: str | None) -> str:
        """The format of a file. Raises CallerError `payload_too_large`, or with the kind's code."""
        self.check_size(len(data), limits, param)
        if not data:
            raise self.invalid("it is empty", param)
        if (name := self.format(data)) is None:
            raise self.invalid(f"it is not {self.formats}", param)
        return name

    def check_count(self, params: Sequence[str | None], limits: Counted, of_model: int | None = None) -> None:
        """`params` are where they stand in a request. Raises CallerError naming the first one too many."""
        most = min(limits.max_count, of_model or limits.max_count)
        if len(params) > most:
            setting = f"max_{self.noun}s of the model, " * bool(of_model)
            accepted = f"at most {most} are accepted ({setting}SIGHTLINE_{self.noun.upper()}S__MAX_COUNT)"
            message = f"The request has {len(params)} {self.noun}s; {accepted}. Leave out earlier ones."
            raise CallerError(self.code, message, param=params[most])
