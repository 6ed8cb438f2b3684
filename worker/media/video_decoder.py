"""Decodes videos in child processes (`shared.media.decoder_process`, `worker.media.decode_video`)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from shared.media.decoder_process import Decoded, DecoderPool
from shared.media.files import VIDEO
from shared.metrics.decoder_counters import DECODE
from shared.settings import VideoSettings
from worker.engines.base import Frames, VideoFacts
from worker.fair_semaphore import MIN_CONCURRENCY, FairSemaphore, Waiter
from worker.media.blob_reader import Files

DURATION = DECODE.labels("video")
# How much of its frames a decoder may not show: some streams have frames that only others are made from.
HIDDEN = 0.1

Sample = Callable[[VideoFacts], Sequence[int]]
"""Chooses the frames that a model is shown of a video. Raises ValueError in words for the caller."""


@dataclass(frozen=True)
class _Selection:
    param: str
    facts: VideoFacts
    indices: Sequence[int]

    @property
    def pixels(self) -> int:
        return len(self.indices) * self.facts.width * self.facts.height


class VideoDecoder:
    def __init__(self, limits: VideoSettings, places: int = MIN_CONCURRENCY) -> None:
        self._limits = limits
        self._pool = DecoderPool(VIDEO, "worker.media.decode_video", limits, places)
        self.close = self._pool.close
        self._pixels = FairSemaphore(int(limits.max_megapixels_request * 1e6))

    @contextmanager
    def decode(self, files: Files, sample: Sample, waiter: Waiter) -> Iterator[list[Frames]]:
        """Some frames of each of a request's videos, as `sample` chooses them.

        Waits while others hold too much. Raises CallerError (`invalid_video`, `payload_too_large`) naming the
        video by its place.
        """
        params = [f"videos[{place}]" for place in range(len(files))]
        VIDEO.check_count(params, self._limits)
        selections = list[_Selection]()
        for data, param in zip(files, params, strict=True):
            facts = self._facts(data, param)
            selections.append(self._select(sample, facts, param, selections))
        # All at once: who holds some and waits for more could wait for somebody who does the same.
        with self._pixels.reserve(sum(video.pixels for video in selections), waiter):
            yield [self._frames(data, video, sample) for data, video in zip(files, selections, strict=True)]

    def _facts(self, data: bytes, param: str) -> VideoFacts:
        facts = self._ask(data, (), param).facts
        above, below = facts["rate"]
        return VideoFacts(facts["frames"], above / below, facts["width"], facts["height"])

    def _frames(self, data: bytes, selection: "_Selection", sample: Sample) -> Frames:
        with DURATION.time():
            decoded = self._ask(data, selection.indices, selection.param)
            if "width" not in decoded.facts:
                selection = self._smaller_selection(decoded.facts["seen"], selection, sample)
                decoded = self._ask(data, selection.indices, selection.param)
        facts, pixels = selection.facts, decoded.data
        shown = decoded.facts.get("width"), decoded.facts.get("height"), len(pixels)
        if shown != (facts.width, facts.height, selection.pixels * 3):
            raise VIDEO.invalid("it is damaged", selection.param)
        return Frames(facts, tuple(selection.indices), pixels)

    def _smaller_selection(self, seen: int, selection: "_Selection", sample: Sample) -> "_Selection":
        """Of a video with only the frames that were `seen`. Raises CallerError where too many are missing."""
        facts = selection.facts
        if seen < facts.frames * (1 - HIDDEN):
            raise VIDEO.invalid(f"of its {facts.frames} frames only {seen} can be decoded", selection.param)
        return self._select(sample, replace(facts, frames=seen), selection.param, ())

    def _select(
        self, sample: Sample, facts: VideoFacts, param: str, before: Sequence["_Selection"]
    ) -> "_Selection":
        """Raises CallerError where these are too many, together with those of the videos before."""
        try:
            selection = _Selection(param, facts, sample(facts))
        except ValueError as error:
            raise VIDEO.invalid(str(error), param) from None
        limits, size = self._limits, facts.width * facts.height
        count = len(selection.indices) + sum(len(video.indices) for video in before)
        if count > limits.max_frames:
            most = f"at most {limits.max_frames} are (SIGHTLINE_VIDEOS__MAX_FRAMES)"
            message = f"{count} frames of it would be shown to the model; {most}"
            raise VIDEO.invalid(f"{message}. Send a smaller `num_frames` or `fps`", param)
        remaining = limits.max_megapixels_request * 1e6 - sum(video.pixels for video in before)
        if selection.pixels > remaining:
            message = (
                f"{len(selection.indices)} frames of {facts.width} x {facts.height} pixels are too large"
            )
            advice = f"send `num_frames`: {max(1, int(remaining // size))} or less, or a smaller video"
            raise VIDEO.invalid(f"{message} together; {advice}", param)
        return selection

    def _ask(self, data: bytes, indices: Sequence[int], param: str) -> Decoded:
        """The child's answer. Raises CallerError `invalid_video`, `payload_too_large`."""
        limits, kind = self._limits, VIDEO.check(data, self._limits, param)
        most = int(limits.max_megapixels * 1e6)
        wanted = list(indices)
        return self._pool.decode(data, param, format=kind, wanted=wanted, max_s=limits.max_s, most=most)
