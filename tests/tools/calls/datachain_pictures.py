import base64
import sys

import datachain as dc
from openai import OpenAI

url, folder = sys.argv[1:]


def ask(client: OpenAI, file: dc.ImageFile) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    parts = [
        {"type": "text", "text": "What color is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
    ]
    turns = [{"role": "user", "content": parts}]
    return client.chat.completions.create(model="test/echo", messages=turns).choices[0].message.content


pictures = dc.read_storage(f"file://{folder}/*.png", type="image")
client = {"client": lambda: OpenAI(base_url=f"{url}/v1", api_key="any")}
print(pictures.setup(**client).map(answer=ask).to_values("answer"))
