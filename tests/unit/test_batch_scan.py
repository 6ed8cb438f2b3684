"""A batch's file is read line by line, however large it is."""

import json
import tracemalloc
from pathlib import Path

from api.batches.lines import scan
from tests.support.batches import ENDPOINT, line

COUNT, LINE = 5000, 4000
LIMIT = 25 * 2**20


def test_a_file_is_looked_through_without_being_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps(line(f"{n}", "x" * LINE)) + "\n" for n in range(COUNT))
    with path.open("rb") as file:
        tracemalloc.start()
        found = scan(file, ENDPOINT, LIMIT)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (found.total, found.last, found.fatal) == (COUNT, path.stat().st_size, False)
    assert most < path.stat().st_size / 5
