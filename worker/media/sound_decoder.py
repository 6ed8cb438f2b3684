"""Decodes sounds in child processes (`shared.media.decoder_process`, `worker.media.decode_sound`)."""

from array import array

from shared.media.decoder_process import DecoderPool, DecoderSpec, UndecodableError
from shared.media.decoder_protocol import SOUNDS
from shared.media.sounds import check_count, check_sound, invalid
from shared.metrics.counters import DECODE
from shared.settings import SoundSettings
from worker.engines.base import Samples
from worker.fair_share import MIN_CONCURRENCY
from worker.media.blob_reader import Files

DURATION = DECODE.labels("sound")


class SoundDecoder:
    """Decodes for the threads of one process."""

    def __init__(self, limits: SoundSettings, places: int = MIN_CONCURRENCY) -> None:
        """For as many requests at once as there are `places`."""
        self._limits = limits
        arguments = (limits.decode_limit_s, limits.decode_memory_mb, limits.max_s)
        spec = DecoderSpec("worker.media.decode_sound", arguments, limits.decode_limit_s)
        self._pool = DecoderPool(spec, places)

    def decode(self, files: Files, rate: int) -> list[Samples]:
        """A request's sounds in mono, with `rate` samples per second.

        Raises CallerError (`invalid_audio`, `payload_too_large`) naming the sound by its place.
        """
        params = [f"sounds[{place}]" for place in range(len(files))]
        check_count(params, self._limits)
        return [self._decode_one(data, rate, param) for data, param in zip(files, params, strict=True)]

    def close(self) -> None:
        """End the processes; nothing can be decoded afterwards."""
        self._pool.close()

    def _decode_one(self, data: bytes, rate: int, param: str) -> Samples:
        check_sound(data, self._limits, param)
        head = SOUNDS.request.pack(rate, len(data))
        with DURATION.time():
            try:
                (count, reason), decoded = self._pool.decode(
                    head, data, SOUNDS.reply, lambda count, reason: count * 4 + reason
                )
            except UndecodableError as error:
                raise invalid(f"it could not be decoded: {error}", param) from None
        if reason or not count:
            raise invalid(decoded.decode("utf-8", "replace"), param)
        return array("f", bytes(decoded))
