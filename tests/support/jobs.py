"""The one question of these tests, and the job object it becomes over a `FakeService`."""

QUESTION = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
FIRST = "job_00000000000000000000000000000001"
URLS = {
    "self": f"/v1/jobs/{FIRST}",
    "cancel": f"/v1/jobs/{FIRST}/cancel",
    "retry": f"/v1/jobs/{FIRST}/retry",
    "events": f"/v1/jobs/{FIRST}/events",
}
QUEUED = {
    "id": FIRST,
    "object": "job",
    "status": "queued",
    "model": "sightline/tiny",
    "priority": "normal",
    "created_at": 1760000000.0,
    "started_at": None,
    "ended_at": None,
    "waiting_reason": "busy",
    "ahead": 3,
    "attempts": [],
    "cache": "MISS",
    "metadata": {},
    "urls": URLS,
}
SUCCEEDED = {
    **{k: v for k, v in QUEUED.items() if k not in ("waiting_reason", "ahead")},
    "status": "succeeded",
    "ended_at": 1760000001.5,
    "result": {
        "text": "A cat.",
        "choices": [{"text": "A cat.", "finish_reason": "stop", "score": 0.5}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "image_tokens": 4,
            "cached_tokens": 0,
            "total_tokens": 12,
        },
        "fingerprint": "f" * 32,
        "compute_s": 0.25,
    },
}
