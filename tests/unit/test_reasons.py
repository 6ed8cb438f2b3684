"""What callers are told of a worker's failures: never where its machine keeps files."""

import pytest

from worker.reasons import without_folders


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
        ("see file://localhost/srv/models/a", "see file://localhost…/a"),
        ("no //srv/models//a here", "no …/a here"),
    ],
)
def test_a_reason_keeps_a_path_s_last_part_alone(said: str, told: str) -> None:
    assert without_folders(said) == told


@pytest.mark.parametrize(
    "said",
    [
        *("see https://example.com/docs/models", "https://example.com/x?u=/api/a/b", "s3://bucket/models/a"),
        *("org/model@main", "a/b and and/or", "./here/there", "1 / 2 / 3", "'#/$defs/x'", "a // b"),
    ],
)
def test_what_is_no_path_of_the_machine_stays(said: str) -> None:
    assert without_folders(said) == said


@pytest.mark.parametrize("source", ["/srv/my models/a b", "/srv/joe's/m", "~/models/m", "../models/m"])
def test_a_model_s_own_folder_is_hidden_whatever_it_is_called(source: str) -> None:
    name = source.rsplit("/", 1)[1]
    for said in (f"no file {source}/config.json", f"the source {source!r} is no folder"):
        told = without_folders(said, source)
        assert "srv" not in told
        assert "models/" not in told
        assert f"…/{name}" in told


def test_a_hub_id_is_told_whole() -> None:
    assert without_folders("org/model is not there", "org/model") == "org/model is not there"
