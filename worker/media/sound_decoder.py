"""Decodes sounds in child processes (`worker.media.decoder_process`, `worker.media.decode_sound`)."""

from array import array

from shared.media.sounds import SoundInfo, check_count, decodable, inspect, invalid
from shared.metrics.counters import DECODE
from shared.settings import SoundSettings
from worker.engines.base import Samples
from worker.fair_share import FEWEST, FairSemaphore, Waiter
from worker.media.blob_reader import Files
from worker.media.decoder_process import Children, Craft, UndecodableError
from worker.media.decoder_protocol import SOUNDS

TIMED = DECODE.labels("sound")


class Listener:
    """Decodes for the threads of one process; the memory of all its children together is bounded."""

    def __init__(self, limits: SoundSettings, places: int = FEWEST) -> None:
        """For as many requests at once as there are `places`."""
        self._limits = limits
        arguments = (limits.decode_limit_s, limits.decode_memory_mb)
        self._children = Children(
            Craft("worker.media.decode_sound", arguments, limits.decode_limit_s), places
        )
        self._memory = FairSemaphore(limits.decode_memory_mb * 2**20)

    def heard(self, files: Files, rate: int, guest: Waiter) -> list[Samples]:
        """A request's sounds in mono, with `rate` samples per second.

        Raises CallerError (`invalid_audio`, `payload_too_large`) naming the sound by its place.
        """
        places = [f"sounds[{place}]" for place in range(len(files))]
        check_count(places, self._limits)
        infos = [inspect(data, self._limits, at) for data, at in zip(files, places, strict=True)]
        return [self._decode(guest, info, rate, data) for info, data in zip(infos, files, strict=True)]

    def close(self) -> None:
        """End the children; nothing can be decoded afterwards."""
        self._children.close()

    def _decode(self, guest: Waiter, info: SoundInfo, rate: int, data: bytes) -> Samples:
        whole = decodable(data, info)
        head = SOUNDS.request.pack(info.frames, info.rate, info.channels, rate, len(whole))
        with TIMED.time(), self._memory.taking(info.memory, guest):
            try:
                _, samples = self._children.decode(head, whole, SOUNDS.reply, lambda count: count * 4)
            except UndecodableError as reason:
                raise invalid(f"it could not be decoded: {reason}", info.param) from None
        return array("f", bytes(samples))
