"""The rows people copy load as they stand, and are safe to copy."""

import re
from pathlib import Path

import pytest

from shared.models import Model
from shared.models_file import load_models
from shared.settings import SettingsError

CATALOGUE = Path("examples/models/catalogue.toml")
ROWS = load_models(CATALOGUE).rows
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
COMMIT = re.compile(r"[0-9a-f]{40}")
MEMORY = re.compile(r"# ([\d.]+)e9 x (\d) = ([\d.]+) GB.*?^id = \"([^\"]+)\"", re.MULTILINE | re.DOTALL)
SAID = {found[4]: found for found in MEMORY.finditer(CATALOGUE.read_text(encoding="utf-8"))}


def test_the_catalogue_names_each_model_once() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS) == 8


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.slug)
def test_a_copied_row_is_found_on_the_hub_serves_several_at_once_and_fits_as_it_says(row: Model) -> None:
    assert (row.source, row.engine, row.options) == (row.id, "auto", {})
    assert row.rows > 1
    parameters, size, total = (float(SAID[row.id][n]) for n in (1, 2, 3))
    assert size == BYTES[row.dtype]
    assert total == pytest.approx(parameters * size, rel=0.06)
    assert row.max_new_tokens <= (row.context_length or 0) // 8, "an answer leaves room for its question"


def test_only_a_pinned_row_runs_a_models_own_code() -> None:
    trusting = [row for row in ROWS if row.trust_remote_code]
    assert [row.id for row in trusting] == ["microsoft/Phi-3.5-vision-instruct"]
    assert COMMIT.fullmatch(trusting[0].revision)


def test_own_code_from_a_moving_branch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(
        '[[models]]\nid = "org/m"\nsource = "org/m"\ntrust_remote_code = true\n', encoding="utf-8"
    )
    with pytest.raises(SettingsError, match="pinned revision"):
        load_models(path)
