"""Has the model answer a made-up question at load, so that no caller is the first to see it fail."""

import threading

from PIL import Image as Pictures

from shared.errors import CallerError
from shared.request import Image, Message, Parameters, Part, Request, Text, Video
from worker.engines.base import Engine, Images, Row, Videos

SIZE = (96, 64)
DEFAULTS = Parameters()


def question(model: str, parts: tuple[Part, ...], parameters: Parameters = DEFAULTS) -> Request:
    """A request of one message."""
    return Request(model=model, messages=(Message(role="user", parts=parts),), parameters=parameters)


def made_up(model: str, parameters: Parameters, pictures: int = 1, videos: int = 0) -> tuple[Request, Images]:
    images = tuple(Image() for _ in range(pictures))
    parts: tuple[Part, ...] = (*images, *[Video()] * videos, Text(text="What is this?"))
    request = question(model, parts, parameters)
    return request, [Pictures.new("RGB", SIZE, "gray") for _ in images]


def try_out(
    engine: Engine,
    model: str,
    parameters: Parameters,
    answers: int = 1,
    *,
    pictures: int = 1,
    videos: Videos = (),
) -> CallerError | None:
    """How the model refused the question; None if it answered. Raises whatever the engine raises."""
    try:
        request, images = made_up(model, parameters, pictures, len(videos))
        prompt = engine.prepare(request, images, videos=videos)
    except CallerError as refusal:
        return refusal
    engine.generate_all([Row(prompt, parameters, lambda _: None, threading.Event())] * answers)
    return None
