"""Ask a model that is still loading: read when to come again, wait, ask again; or let the call wait.

pip install httpx
python examples/cold_model.py http://127.0.0.1:8000 MODEL "What is this?"
"""

import sys
import time

import httpx

url, model, question = sys.argv[1:]
body = {"inputs": question}
with httpx.Client(base_url=url, timeout=600) as client:
    reply = client.post(f"/models/{model}", json=body)
    # 503 passes, and says after how many seconds to ask again; 500 means that it cannot be loaded at all.
    while reply.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        problem = reply.json()
        print(f"{problem['error']} asking again in {reply.headers['retry-after']} s", flush=True)
        time.sleep(float(reply.headers["retry-after"]))
        reply = client.post(f"/models/{model}", json=body)
    print(reply.raise_for_status().json()[0]["generated_text"])
    # The short way: the connection stays open until the answer is there.
    waited = client.post(f"/models/{model}", json=body, headers={"X-Wait-For-Model": "true"})
    print(waited.raise_for_status().json()[0]["generated_text"])
