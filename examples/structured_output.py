"""An answer that a program can read: held to a schema while it is drawn, so that it needs no second try.

pip install openai pydantic
python examples/structured_output.py http://127.0.0.1:8000 examples/sample.png
"""

import base64
import sys
from pathlib import Path
from typing import Literal

from openai import OpenAI
from pydantic import BaseModel


class Shape(BaseModel):
    colour: Literal["red", "green", "blue", "yellow"]
    shape: Literal["circle", "square", "triangle"]


client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none")
data = base64.b64encode(Path(sys.argv[2]).read_bytes()).decode()
answer = client.chat.completions.parse(
    model="sightline/tiny",
    messages=[
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                {"type": "text", "text": "Which shape is in this picture?"},
            ],
        }
    ],
    response_format=Shape,
)
found = answer.choices[0].message.parsed
print(found.model_dump_json() if found else "no shape")
