"""Finds out whether a model takes sounds, at what rate, and how short and long they may be."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from shared.errors import CallerError
from shared.media.sounds import SOUND
from shared.request import Request
from worker.engines.base import Samples
from worker.engines.loading.torch_errors import UNFIT

# Silence that decoders add around an MP3; what exceeds the processor's limit by this much may be cut off.
SLACK_S = 0.2


class SoundInput:
    """What config and processor say about sounds. `rate` is in Hz, 0 if the model takes none.

    `id` is the placeholder token of a piece of sound.
    """

    def __init__(self, processor: Any, config: Any) -> None:
        extractor = getattr(processor, "feature_extractor", None)
        listens = extractor is not None and getattr(config, "audio_config", None) is not None
        self.rate = int(getattr(extractor, "sampling_rate", 0)) if listens else 0
        self.id = getattr(config, "audio_token_id", None) or getattr(processor, "audio_token_id", None)
        self._least = self._shortest(processor) if self.rate else 0
        most = getattr(processor, "audio_seq_length", None)
        # The processor silently cuts off what is longer.
        self._most_s = most and most * getattr(processor, "audio_ms_per_token", 0) / 1000

    def check(self, request: Request, sounds: Sequence[Samples]) -> None:
        """Raises CallerError `invalid_audio`, `unsupported_parameter`."""
        if sounds and request.raw:
            message = "Sounds are heard in chats only, with the model's chat template."
            raise CallerError("unsupported_parameter", message, param="messages")
        for place, sound in enumerate(sounds):
            if len(sound) < self._least:
                least_ms = 1000 * self._least / self.rate
                raise SOUND.invalid(
                    f"this model hears nothing shorter than {least_ms:.1f} ms", f"sounds[{place}]"
                )
            if self._most_s and len(sound) > (self._most_s + SLACK_S) * self.rate:
                raise SOUND.invalid(f"this model listens for {self._most_s:g} s", f"sounds[{place}]")

    def _shortest(self, processor: Any) -> int:
        """The fewest samples that become a token; 0 if even a second's do not."""

        def accepts(samples: int) -> bool:
            silence = np.zeros(samples, dtype=np.float32)
            try:
                inputs = processor(text=[processor.audio_token], audio=[silence], return_tensors="pt")
            except UNFIT:
                return False
            return bool((inputs["input_ids"] == self.id).any())

        lengths = range(1, self.rate + 1)
        at = bisect_left(lengths, True, key=accepts)
        return lengths[at] if at < len(lengths) else 0
