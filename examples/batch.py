"""A batch: a file of requests in, a file of answers out, while this program need not run.

pip install openai tqdm
python examples/batch.py http://127.0.0.1:8000 "What is a job?" "What is a queue?"
"""

import io
import json
import sys
import time

from openai import OpenAI
from tqdm import tqdm

client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none")
lines = [
    {
        "custom_id": f"question-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "sightline/tiny", "messages": [{"role": "user", "content": question}]},
    }
    for number, question in enumerate(sys.argv[2:])
]
content = io.BytesIO("\n".join(map(json.dumps, lines)).encode())
file = client.files.create(file=("questions.jsonl", content), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
with tqdm(total=len(lines), unit="answer") as bar:
    while batch.status not in ("completed", "failed", "cancelled", "expired"):
        time.sleep(0.5)
        batch = client.batches.retrieve(batch.id)
        bar.update((batch.request_counts.completed if batch.request_counts else 0) - bar.n)
if batch.output_file_id:
    for line in client.files.content(batch.output_file_id).text.splitlines():
        answer = json.loads(line)
        print(answer["custom_id"], answer["response"]["body"]["choices"][0]["message"]["content"])
