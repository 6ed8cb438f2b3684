"""What callers are told of a worker's failures: never where its machine keeps files."""

import pytest

from worker.node import without_folders


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
    ],
)
def test_a_reason_keeps_a_path_s_last_part_alone(said: str, told: str) -> None:
    assert without_folders(said) == told


@pytest.mark.parametrize(
    "said",
    ["see https://example.com/docs/models", "org/model@main", "a/b and and/or", "./here/there", "1 / 2 / 3"],
)
def test_what_is_no_path_of_the_machine_stays(said: str) -> None:
    assert without_folders(said) == said
