"""The file and the batch that all examples show."""

from typing import Any

from api.dialects.openai_batches import to_batch
from api.dialects.openai_files import to_deleted as to_deleted_file
from api.dialects.openai_files import to_file
from api.dialects.pages import to_page
from shared.batch import Batch
from shared.batch import Tokens as BatchTokens
from shared.file import File

FILE_ID = "file-4f1d2c3b4a5968778695a4b3c2d1e0f0"
BATCH_ID = "batch_0f1e2d3c4b5a69788796a5b4c3d2e1f0"
_DAY_MS = 86_400_000
_BEGAN = 1_760_000_000_000
_FILE = File(
    id=FILE_ID,
    caller="local",
    name="questions.jsonl",
    purpose="batch",
    size=91_403,
    digest="",
    created_ms=_BEGAN,
    expires_ms=_BEGAN + 30 * _DAY_MS,
)
_BATCH = Batch(
    id=BATCH_ID,
    caller="local",
    stage="completed",
    file=FILE_ID,
    digest="",
    endpoint="/v1/chat/completions",
    created_ms=_BEGAN,
    expires_ms=_BEGAN + _DAY_MS,
    life_s=30 * 86_400,
    metadata={"night": "12"},
    stages_ms={
        "in_progress": _BEGAN + 1_000,
        "finalizing": _BEGAN + 600_000,
        "completed": _BEGAN + 601_000,
    },
    total=300,
    completed=300,
    tokens=BatchTokens(12_000, 5_400, 9_800),
    output="file-a0b1c2d3e4f5061728394a5b6c7d8e9f",
)

BATCH: dict[str, Any] = {
    "input_file_id": FILE_ID,
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "metadata": {"night": "12"},
}
BATCHES: dict[str, Any] = {
    "file": to_file(_FILE),
    "files": to_page([to_file(_FILE)], has_more=False),
    "file-deleted": to_deleted_file(FILE_ID),
    "batch": to_batch(_BATCH),
    "batches": to_page([to_batch(_BATCH)], has_more=False),
}
