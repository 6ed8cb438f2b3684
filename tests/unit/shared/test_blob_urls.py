"""Which store a URL and its environment name, and which URLs name none."""

import pytest
from obstore.store import AzureStore

from shared.blobs import Blobs
from shared.settings import BlobSettings, SettingsError


def test_the_environment_of_another_cloud_makes_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "example")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "bm9uZQ==")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    azure = Blobs(BlobSettings(url="az://pictures/of/ours"))
    assert azure.kind == "az"
    assert isinstance(azure._store, AzureStore)
    assert (azure._store.config["container_name"], azure._store.prefix) == ("pictures", "of/ours")
    assert Blobs(BlobSettings(url="gs://pictures/ours")).kind == "gs"


def test_a_store_that_cannot_be_made_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/there/is/none.json")
    with pytest.raises(SettingsError, match="SIGHTLINE_BLOBS__URL"):
        Blobs(BlobSettings(url="gs://pictures"))


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a/b", "s3://key:secret@bucket", "s3://b?x=1", "file://blobs", "s3://", "s3:/bucket/prefix"),
        *("", " s3://bucket", "s3://bucket ", "gs:bucket", "s3:///prefix"),
    ],
)
def test_a_url_that_names_no_store_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"should be a folder or|from the root on"):
        BlobSettings(url=url)
