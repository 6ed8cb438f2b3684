"""Finds out whether a model takes sounds and videos, and what of them its processor gives it."""

import logging
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from transformers.video_utils import VideoMetadata

from shared.errors import CallerError
from shared.media.sounds import SOUND
from shared.request import Message, Parameters, Request, Text, Video
from worker.engines.base import Frames, Sounds, VideoFacts, Videos
from worker.engines.loading.torch_errors import UNFIT

log = logging.getLogger("worker.engines.prompt")
# Silence that decoders add around an MP3; what exceeds the processor's limit by this much may be cut off.
SLACK_S = 0.2
Pixels: TypeAlias = NDArray[np.uint8]
FEW = 32
"""Frames of a longer video, where the processor would show all of them, as of `transformers serve`."""
MADE_UP = VideoFacts(frames=8, fps=4.0, width=64, height=48)


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

    def check(self, sounds: Sounds) -> None:
        """Raises CallerError `invalid_audio`, `unsupported_parameter`."""
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


class VideoInput:
    """What config and processor say about videos; `takes` is known after `try_out`, and the rest at load.

    `id` is the placeholder token of a piece of a video, where that is not a picture's.
    """

    def __init__(self, processor: Any, config: Any) -> None:
        self._processor: Any = getattr(processor, "video_processor", None)
        self.id = getattr(config, "video_token_id", None) or getattr(processor, "video_token_id", None)
        self.takes = False
        # Where both have one name, the processor keeps the videos alone (transformers 5.23).
        self.excludes_pictures = "pixel_values" in getattr(self._processor, "model_input_names", ())

    def try_out(self, ask: Callable[[Request, Videos], int]) -> None:
        """Ask about a made-up video; `ask` returns the prompt's placeholders of videos and pictures."""
        if not hasattr(self._processor, "sample_frames"):
            return
        parts = (Video(), Text(text="x"))
        request = Request(model="", messages=(Message(role="user", parts=parts),))
        try:
            self.takes = ask(request, [self.made_up()]) > 0
        except Exception as error:  # Whatever a family's own code raises.
            log.warning("the model takes no videos: a made-up one fails with %s", error)

    def made_up(self) -> Frames:
        """Noise, as the model is shown it. Raises ValueError where its processor samples nothing of it."""
        indices = tuple(self.sample(Parameters(), MADE_UP))
        size = len(indices) * MADE_UP.width * MADE_UP.height * 3
        # Nobody is to be kept from guessing it.
        return Frames(MADE_UP, indices, bytearray(random.Random(size).randbytes(size)))  # noqa: S311

    def sample(self, parameters: Parameters, video: VideoFacts) -> list[int]:
        """The numbers of the frames of a video that the model is shown, by its processor's own rule.

        Raises ValueError in words for the caller.
        """
        wished = self._wished(parameters, video)
        if wished is None:
            return list(range(video.frames))
        named = {name: getattr(self._processor, name, None) for name in self._names} | wished
        try:
            chosen = self._processor.sample_frames(metadata=_metadata(video), **named)
            indices = [int(at) for at in chosen]
        except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError):
            indices = []
        if not indices or not all(0 <= at < video.frames for at in indices):
            raise ValueError(
                f"of its {video.frames} frames in {video.frames / video.fps:.1f} s the model's processor "
                "cannot sample as many as are asked for; send another `num_frames` or `fps`"
            )
        return indices

    def arguments(self, videos: Videos) -> dict[str, Any]:
        """What the processor has to be told about videos whose frames are sampled already."""
        described = [_metadata(video.video, np.array(video.indices)) for video in videos]
        return {"do_sample_frames": False, "video_metadata": described} if videos else {}

    def check(self, request: Request) -> None:
        """Raises CallerError `unsupported_parameter`."""
        if request.videos and request.images and self.excludes_pictures:
            message = "This model takes pictures or videos, not both in one request; leave one of them out."
            raise CallerError("unsupported_parameter", message, param="messages")

    @property
    def _names(self) -> Sequence[str]:
        return list(self._processor.valid_kwargs.__annotations__)

    def _wished(self, parameters: Parameters, video: VideoFacts) -> dict[str, Any] | None:
        """What `sample_frames` is asked for; None for all frames."""
        if parameters.num_frames is not None:
            return {"num_frames": parameters.num_frames, "fps": None}
        own = self._processor.num_frames
        if parameters.fps is not None:
            if own is not None and self._processor.fps is None:
                raise ValueError(f"this model is shown {own} frames however long it is; send `num_frames`")
            return {"num_frames": None, "fps": parameters.fps}
        if self._processor.do_sample_frames or own is not None or self._processor.fps is not None:
            return {}
        return None if video.frames <= FEW else {"num_frames": FEW, "fps": None}


def pixels_of(video: Frames) -> Pixels:
    shape = (len(video.indices), video.video.height, video.video.width, 3)
    return np.frombuffer(video.pixels, dtype=np.uint8).reshape(shape)


def _metadata(video: VideoFacts, indices: Any = None) -> VideoMetadata:
    return VideoMetadata(
        total_num_frames=video.frames,
        fps=video.fps,
        width=video.width,
        height=video.height,
        duration=video.frames / video.fps,
        video_backend="pyav",
        frames_indices=indices,
    )
