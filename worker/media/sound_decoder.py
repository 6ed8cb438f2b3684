"""Decodes sounds in child processes (`shared.media.decoder_process`, `worker.media.decode_sound`)."""

from array import array

from shared.media.decoder_process import DecoderPool
from shared.media.sounds import SOUND, check_sound
from shared.metrics.decoder_counters import DECODE
from shared.settings import SoundSettings
from worker.engines.base import Samples
from worker.fair_semaphore import MIN_CONCURRENCY
from worker.media.blob_reader import Files

DURATION = DECODE.labels("sound")


class SoundDecoder:
    def __init__(self, limits: SoundSettings, places: int = MIN_CONCURRENCY) -> None:
        self._limits = limits
        self._pool = DecoderPool(SOUND, "worker.media.decode_sound", limits, places)
        self.close = self._pool.close

    def decode(self, files: Files, rate: int) -> list[Samples]:
        """A request's sounds in mono, with `rate` samples per second.

        Raises CallerError (`invalid_audio`, `payload_too_large`) naming the sound by its place.
        """
        params = [f"sounds[{place}]" for place in range(len(files))]
        SOUND.check_count(params, self._limits)
        return [self._decode_one(data, rate, param) for data, param in zip(files, params, strict=True)]

    def _decode_one(self, data: bytes, rate: int, param: str) -> Samples:
        check_sound(data, self._limits, param)
        with DURATION.time():
            decoded = self._pool.decode(data, param, rate=rate, max_s=self._limits.max_s)
        return array("f", bytes(decoded.data))
