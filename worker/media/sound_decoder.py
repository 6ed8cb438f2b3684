"""Decodes sounds in child processes (`shared.media.decoder_process`, `worker.media.decode_sound`)."""

from array import array

from shared.media.decoder_process import DecoderPool, UndecodableError
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
        self._pool = DecoderPool("worker.media.decode_sound", limits, places)

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
        with DURATION.time():
            try:
                decoded = self._pool.decode(data, rate=rate, max_s=self._limits.max_s)
            except UndecodableError as error:
                raise invalid(str(error), param) from None
        return array("f", bytes(decoded.data))
