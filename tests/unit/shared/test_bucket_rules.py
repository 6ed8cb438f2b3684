"""Whose pictures in which buckets a caller may name: no others, however the URL is written."""

import pytest

from shared.errors import CallerError
from shared.settings import FetchSettings
from shared.url_guard import BucketObject, BucketRules, may_name_bucket
from tests.support.refusal import refusal

RULES = BucketRules(("s3://photos/shared/", "acme=gs://acme/in", "s3://photos/own/{caller}", "az://all"))


@pytest.mark.parametrize(
    ("caller", "url", "target"),
    [
        ("acme", "s3://photos/shared/a.jpg", ("s3", "photos", "shared/a.jpg")),
        ("acme", "S3://photos/shared/b c/é.jpg", ("s3", "photos", "shared/b c/é.jpg")),
        ("acme", "gs://acme/in/a.jpg", ("gs", "acme", "in/a.jpg")),
        ("acme", "s3://photos/own/acme/a.jpg", ("s3", "photos", "own/acme/a.jpg")),
        ("other", "az://all/a.jpg", ("az", "all", "a.jpg")),
    ],
)
def test_callers_may_name_what_the_operator_opened(
    caller: str, url: str, target: tuple[str, str, str]
) -> None:
    assert RULES.check(url, caller, "image") == BucketObject(*target)


@pytest.mark.parametrize(
    "url",
    [
        *("s3://photos/shared-by-others/a.jpg", "s3://photos/shared/../secret/a.jpg"),
        *("s3://photos/shared//a.jpg", "s3://photos/shared/./a.jpg", "s3://photos/shared/"),
        *("s3://photos/shared/a\n.jpg", "s3://photos/own/acme/a.jpg", "s3://photos/own/{caller}/a.jpg"),
        *("s3://photos", "s3://other/shared/a.jpg", "s3://photos@evil/shared/a.jpg"),
        *("gs://photos/shared/a.jpg", "gs://acme/in/a.jpg"),
    ],
)
def test_another_callers_prefix_another_bucket_and_a_path_around_them_are_refused(url: str) -> None:
    assert refusal(RULES.check, url, "other", "input.image") == ("invalid_image_url", "input.image")


def test_a_refusal_names_what_the_caller_may_name_and_no_other_callers() -> None:
    with pytest.raises(CallerError) as refused:
        RULES.check("s3://elsewhere/a.jpg", "other", None)
    assert "s3://photos/shared/, s3://photos/own/other/, az://all/" in refused.value.message
    assert "acme" not in refused.value.message
    with pytest.raises(CallerError, match="SIGHTLINE_FETCH__BUCKETS"):
        BucketRules().check("s3://photos/a.jpg", "other", None)


@pytest.mark.parametrize(
    "entry", ["s3://b?x=1", "http://bucket/a", "s3://", "a b=s3://bucket", "s3://b/../c"]
)
def test_a_bucket_that_is_written_wrong_stops_the_start(entry: str) -> None:
    assert not may_name_bucket(entry)
    with pytest.raises(ValueError, match="is not like s3://bucket/prefix"):
        FetchSettings(buckets=(entry,))
