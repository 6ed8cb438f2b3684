"""What every process counts that has pictures, sounds, videos or documents decoded."""

from shared.metrics.metric_types import Label, histogram

DECODES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

DECODE = histogram(
    "sightline_decode_seconds",
    "Decoding one picture, audio file, video or document's page, the wait for a decoder included.",
    Label("kind", ("picture", "sound", "document", "video")),
    bounds=DECODES,
)
