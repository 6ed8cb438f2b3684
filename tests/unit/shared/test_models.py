"""What the API knows of a model before any worker has loaded it, without going to the disk for it again."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.errors import CallerError
from shared.models import Model, Models
from shared.models_file import load_models
from shared.settings import SettingsError
from tests.support.tools import TEMPLATES

ECHO = b'[[models]]\nid = "org/m"\nengine = "echo"\n'
ROW = '[[models]]\nid = "org/m"\nsource = "m"\n'


def test_a_row_that_says_nothing_of_its_residence_is_stored_as_releases_before_read_it() -> None:
    row = '{"id":"org/m","engine":"echo"}'
    assert Model.model_validate_json(row).model_dump_json(exclude_defaults=True) == row


@pytest.mark.parametrize("said", [{"resident": "never"}, {"keep_alive_s": -1}, {"memory_mb": 0}])
def test_a_row_with_an_impossible_residence_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Model.model_validate({"id": "org/m", "engine": "echo", **said})


def model(tmp_path: Path, **files: object) -> Model:
    """A model read from a models file, its folder holding these JSON files."""
    (tmp_path / "m").mkdir()
    for name, content in files.items():
        (tmp_path / "m" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "models.toml").write_text(ROW, encoding="utf-8")
    return load_models(tmp_path / "models.toml").rows[0]


PLAIN = "{{ messages }}"
NAMED = [{"name": "tool_use", "template": TEMPLATES["llama"]}]


@pytest.mark.parametrize(
    ("files", "tools"),
    [
        ({"tokenizer_config": {"chat_template": PLAIN}}, ""),
        ({"tokenizer_config": {}, "processor_config": {"chat_template": PLAIN}}, ""),
        ({"tokenizer_config": {"chat_template": TEMPLATES["hermes"]}}, "hermes"),
        ({"tokenizer_config": {}, "chat_template": {"chat_template": TEMPLATES["mistral"]}}, "mistral"),
        ({"tokenizer_config": {"chat_template": NAMED}}, "llama"),
        ({"tokenizer_config": {}}, ""),
        ({"tokenizer_config": []}, None),
        ({}, None),
    ],
)
def test_whether_functions_can_be_asked_is_read_from_the_folder(
    tmp_path: Path, files: dict[str, object], tools: str | None
) -> None:
    assert model(tmp_path, **files).tools == tools


def test_a_template_in_a_file_of_its_own_is_seen() -> None:
    assert load_models(Path("models.toml")).rows[0].tools == ""


def test_the_folder_is_read_once_so_that_no_request_waits_for_a_disk(tmp_path: Path) -> None:
    weights = {"generation_config": {"do_sample": True}, "tokenizer_config": {"chat_template": "x"}}
    known = model(tmp_path, **weights)
    shutil.rmtree(tmp_path / "m")

    assert (known.samples, known.tools) == (True, "")
    assert (len(known.folder.files), round(known.folder.load_guess_s)) == (2, 30)


def test_nothing_is_claimed_of_a_model_that_is_not_on_this_machine() -> None:
    elsewhere, echo = Model(id="org/m", source="org/m"), Model(id="e", engine="echo")
    assert (elsewhere.samples, elsewhere.tools, elsewhere.folder.files) == (None, None, ())
    assert (echo.samples, echo.tools) == (False, "hermes")


def test_a_model_that_says_a_temperature_of_0_draws_nothing(tmp_path: Path) -> None:
    assert model(tmp_path, generation_config={"do_sample": True, "temperature": 0.0}).samples is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"models = 3", r"tables and nothing else, but models is 3"),
        (b"models = []", "tables and nothing else, but it has none"),
        (b"", "tables and nothing else, but it has none"),
        (b'[models]\nid = "m"', r"it has \[models\]: double its brackets"),
        (b'[[models]]\nid = "m"\n[extra]', "nothing else, but it has 'extra'"),
        (b'[[models]]\nid = "\xff"', "line 2 is not UTF-8"),
        (b'[[models]]\nid = "m"', "row 1, source: name a folder or a Hub id"),
        (b'[[models]]\nid = "m"\nsource = "~/m"', "row 1, source: write the folder in full"),
        (ECHO + b'torch_dtype = "auto"', "row 1, torch_dtype: it is dtype here"),
        (ECHO + b'dtyp = "auto"', r"row 1, dtyp: is no field of a row; did you mean dtype\?"),
        (ECHO + b"colour = 1", "row 1, colour: is no field of a row$"),
        (ECHO + ECHO.replace(b"org/m", b"Org--M"), "rows 1 and 2 have the same id, org/m and Org--M"),
    ],
)
def test_a_models_file_of_another_form_is_told_why(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "models.toml"
    path.write_bytes(text)
    with pytest.raises(SettingsError, match=rf"models file .*models\.toml: .*{words}"):
        load_models(path)


def test_one_row_can_be_read_beside_rows_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_bytes(b'[[models]]\nid = "org/wrong"\ndtyp = 1\n' + ECHO + b"[[models]]\nid = 7\n")
    assert [model.id for model in load_models(path, "org/m").rows] == ["org/m"]
    assert load_models(path, "org/none").rows == ()
    with pytest.raises(SettingsError, match="row 1, "):
        load_models(path, "org/wrong")
    path.write_bytes(2 * ECHO)
    with pytest.raises(SettingsError, match="rows 1 and 2 have the same id"):
        load_models(path, "org/m")


def test_a_models_file_that_is_not_there_is_told_where_it_was_looked_for_and_how_to_name_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = rf"^models file {tmp_path}/models.toml: No such file or directory; SIGHTLINE_MODELS_FILE names "
    with pytest.raises(SettingsError, match=where):
        load_models(Path("models.toml"))


def test_a_models_file_that_windows_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_bytes(b"\xef\xbb\xbf" + ECHO.replace(b"\n", b"\r\n"))
    assert [model.id for model in load_models(path).rows] == ["org/m"]


@pytest.mark.parametrize(
    "name", ["org/v1", "org/m/health", "org/m/info", "org/v1/m", "org/m/", "org/../m", "org//m", "m/."]
)
def test_an_id_that_its_own_paths_would_hide_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="an id ha"):
        Model(id=name, engine="echo")


@pytest.mark.parametrize("name", ["s3://bucket/llama", "gpt://4o", 'SYSTEM "https://org/m"'])
def test_another_model_s_name_is_not_answered_by_the_only_one_though_it_holds_a_url(name: str) -> None:
    models = Models((Model(id="org/m", engine="echo"),))
    assert models.resolve("http://service/models/org/m").id == "org/m"
    with pytest.raises(CallerError, match="is not served here"):
        models.resolve(name)
