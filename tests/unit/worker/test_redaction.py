"""What callers are told of a worker's failures: never where its machine keeps files."""

from pathlib import Path

import pytest

from worker.model_worker import redact_folders


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no file /srv/models/a/config.json", "no file …/config.json"),
        ("OSError:/srv/models/a/config.json is no file", "OSError:…/config.json is no file"),
        ("path=/srv/models/a, and (/srv/b/c)", "path=…/a, and (…/c)"),
        ("the source '/srv/my models/a b' is no folder", "the source '…/a b' is no folder"),
        ('File "/srv/my models/x.py", line 3', 'File "…/x.py", line 3'),
        ("see file:///srv/models/a", "see file://…/a"),
        ("it's '/srv/a/b' or '/srv/a/c'", "it's '…/b' or '…/c'"),
        ("no //srv/models//a here", "no …/a here"),
        ("{'at':'https://x.org/a','dir':'/srv/b/c'}", "{'at':'https://x.org/a','dir':'…/c'}"),
        ("see https://x.org/a,/srv/b/c", "see https://x.org/a,…/c"),
        ("see git+file:///srv/b/c", "see git+file://…/c"),
    ],
)
def test_a_reason_keeps_a_path_s_last_part_alone(said: str, told: str) -> None:
    assert redact_folders(said) == told


@pytest.mark.parametrize(
    "said",
    [
        *("see https://example.com/docs/models", "s3://bucket/models/a"),
        *("org/model@main", "a/b and and/or", "./here/there", "1 / 2 / 3", "'#/$defs/x'", "a // b"),
    ],
)
def test_what_is_no_path_of_the_machine_stays(said: str) -> None:
    assert redact_folders(said) == said


@pytest.mark.parametrize("source", ["/srv/my models/a b", "/srv/joe's/m", "~/models/m", "../models/m"])
def test_a_model_s_own_folder_is_hidden_whatever_it_is_called(source: str) -> None:
    name = source.rsplit("/", 1)[1]
    for said in (f"no file {source}/config.json", f"the source {source!r} is no folder"):
        told = redact_folders(said, source)
        assert "srv" not in told
        assert "models/" not in told
        assert f"…/{name}" in told


@pytest.mark.parametrize(
    ("source", "said", "told"),
    [
        ("/srv/m/qwen", "no file /srv/m/qwen-old/customer/w.bin", "no file …/w.bin"),
        ("/srv/m/qwen", "no file /srv/m/qwen/old/w.bin.", "no file …/qwen/old/w.bin."),
        ("/srv/m/qwen 7b", "it is /srv/m/qwen 7b.", "it is …/qwen 7b."),
        ("/srv/m/qwen 7b", "see file:///srv/m/qwen 7b", "see file://…/qwen 7b"),
        ("/srv/m/qwen/", "no file /srv/m/qwen/config.json", "no file …/qwen/config.json"),
        ("/models", "see https://x.org/models/a", "see https://x.org/models/a"),
        ("./", "It took 1.5 s. See docs.", "It took 1.5 s. See docs."),
        ("./m", "m is no model", "m is no model"),
    ],
)
def test_a_model_s_own_folder_is_no_part_of_other_names(source: str, said: str, told: str) -> None:
    assert redact_folders(said, source) == told


def test_a_home_folder_is_hidden_when_it_is_spelled_out() -> None:
    at = Path("~/my models/m").expanduser()
    assert redact_folders(f"no file {at}/config.json", "~/my models/m") == "no file …/m/config.json"


def test_a_hub_id_is_told_whole() -> None:
    assert redact_folders("org/model is not there", "org/model") == "org/model is not there"
