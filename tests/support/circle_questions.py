"""Questions about a picture of one circle, whose answer the shipped model knows."""

import base64
from typing import Any

from PIL import Image, ImageDraw

from tests.support.pictures import encoded

COLOUR = "What color is the circle?"
Colour = tuple[int, int, int]
RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 160, 0)


def circle(colour: Colour, at: int = 30) -> bytes:
    """A picture of one circle, another picture for each `at`."""
    image = Image.new("RGB", (320, 240), "white")
    ImageDraw.Draw(image).ellipse((at, at, at + 100, at + 100), fill=colour)
    return encoded(image, "PNG")


def data_uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def chat(picture: bytes, question: str = COLOUR) -> Any:
    """Messages as the clients of OpenAI and Hugging Face take them."""
    parts = [
        {"type": "image_url", "image_url": {"url": data_uri(picture)}},
        {"type": "text", "text": question},
    ]
    return [{"role": "user", "content": parts}]
