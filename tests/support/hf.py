"""A whole Hugging Face body: every field that its clients send, and what the pictures in it are."""

import base64
from typing import Any

PNG = b"\x89PNG\r\n\x1a\n picture"
B64 = base64.b64encode(PNG).decode()
URL = "https://example.org/a.png"
TURNS = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "A?"}, {"type": "image"}]},
    {"role": "assistant", "content": "It is"},
]
FULL: dict[str, Any] = {
    "inputs": {"text": TURNS, "images": [URL, B64]},
    "parameters": {
        "max_new_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 3,
        "do_sample": True,
        "seed": 7,
        "stop": ["END"],
        "stop_sequences": ["END"],
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.1,
        "return_full_text": True,
        "details": False,
        "watermark": False,
        "typical_p": 1.0,
        "num_beams": 1,
        "use_cache": True,
        "generate_kwargs": {"max_new_tokens": 5, "do_sample": True},
    },
    "options": {"use_cache": False, "wait_for_model": True},
    "stream": True,
}
