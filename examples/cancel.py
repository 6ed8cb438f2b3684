"""Cancel a job whose answer nobody wants any more: its row is free for the next one within milliseconds.

pip install httpx
python examples/cancel.py http://127.0.0.1:8000
"""

import sys

import httpx

with httpx.Client(base_url=sys.argv[1], timeout=60) as client:
    body = {
        "model": "sightline/tiny",
        "input": {"prompt": "Tell me all that you know."},
        "parameters": {"max_new_tokens": 120, "min_new_tokens": 120, "temperature": 1.5},
    }
    job = client.post("/v1/jobs", json=body).raise_for_status().json()
    cancelled = client.post(job["urls"]["cancel"]).raise_for_status().json()
    print(cancelled["status"])
    # The same question again, as a job of its own.
    retried = client.post(job["urls"]["retry"]).raise_for_status().json()
    while retried["ended_at"] is None:
        retried = client.get(retried["urls"]["self"], params={"wait": 60}).json()
    print(retried["status"])
