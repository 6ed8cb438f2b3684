"""Ask one question about every picture of a folder: submit them all, then collect the answers as they come.

pip install httpx tqdm
python examples/fifty_pictures.py http://127.0.0.1:8000 FOLDER "What color is the circle?"

A second run costs nothing: the idempotency key of each picture finds the job of the first.
"""

import base64
import hashlib
import sys
from pathlib import Path

import httpx
from tqdm import tqdm

url, folder, question = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
pictures = sorted(
    path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")
)

with httpx.Client(base_url=url, timeout=90) as client:
    model = client.get("/v1/models").json()["data"][0]["id"]
    jobs = {}
    for picture in tqdm(pictures, "submitted", unit="picture"):
        data = picture.read_bytes()
        key = hashlib.sha256(question.encode() + data).hexdigest()
        body = {"model": model, "input": {"prompt": question, "image": base64.b64encode(data).decode()}}
        reply = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
        reply.raise_for_status()
        jobs[picture.name] = reply.json()
    for name, job in tqdm(jobs.items(), "answered", unit="picture"):
        while job["ended_at"] is None:
            job = client.get(job["urls"]["self"], params={"wait": 60}).json()
        tqdm.write(
            f"{name}\t{job['result']['text'] if job['status'] == 'succeeded' else job['error']['message']}"
        )
