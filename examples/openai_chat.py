"""Ask about a picture with OpenAI's client, the answer printed as it is made.

pip install openai
python examples/openai_chat.py http://127.0.0.1:8000 examples/sample.png "What is in this picture?"
"""

import base64
import os
import sys
from pathlib import Path

from openai import OpenAI

given = sys.argv[1:]
url = given[0] if given else "http://127.0.0.1:8000"
picture = Path(given[1]) if len(given) > 1 else Path(__file__).with_name("sample.png")
question = given[2] if len(given) > 2 else "What is in this picture?"

client = OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("SIGHTLINE_API_KEY", "none"))
data = base64.b64encode(picture.read_bytes()).decode()
stream = client.chat.completions.create(
    model=client.models.list().data[0].id,
    messages=[
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                {"type": "text", "text": question},
            ],
        }
    ],
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
