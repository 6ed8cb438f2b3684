"""Blobs in an object store: S3 and what speaks as it does, Google Cloud Storage, Azure Blob Storage.

Region, endpoint and credentials come from the environment as each cloud's own tools read it (AWS_…, GOOGLE_…,
AZURE_…): they are the client's settings, not ours.
"""

import io
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from shared.blobs.errors import GONE, finding, keeping, reason
from shared.blobs.ranged import Ranged
from shared.blobs.staged import Staged
from shared.settings import SettingsError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# Of one request, and until when a failed one is made again: a caller hears after half a minute at the latest.
# `allow_http` permits what the operator's endpoint says and asks for nothing: the clouds' own are https.
CLIENT: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=3),
    "timeout": timedelta(seconds=20),
    "allow_http": True,
}
RETRY: "RetryConfig" = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
}
PIECE = 4 * 2**20
"""Bytes of one request while a file is handed out: each is over in time, however slowly its reader reads."""
BUFFER = 2**20
PART, PARTS_AT_ONCE = 8 * 2**20, 2
"""Of an upload: what is in memory meanwhile."""


class Bucket:
    """What an object store does in its own way. Paths are relative to the URL's."""

    piece = PIECE

    def __init__(self, url: str) -> None:
        """Asks nothing yet. Raises SettingsError for a URL or environment that names no store."""
        self.kind = url.partition(":")[0]
        try:
            self.store: ObjectStore = from_url(url, client_options=CLIENT, retry_config=RETRY)
        except (BaseError, ValueError) as error:
            raise SettingsError(f"SIGHTLINE_BLOBS__URL: no such store can be made: {reason(error)}") from None

    def look(self) -> bool:
        """True: whether we may write only a write tells. Raises BaseError, OSError."""
        obstore.list_with_delimiter(self.store)
        return True

    def open(self, path: str) -> BinaryIO:
        """Reads a megabyte at a time. Raises BlobMissingError, BlobsUnavailable, also later."""
        with finding(path):
            size = self.size(path)
        return io.BufferedReader(Ranged(self.store, path, size), BUFFER)

    def size(self, path: str) -> int:
        """Raises BaseError."""
        try:
            return obstore.head(self.store, path)["size"]
        except GONE:
            # The answer to a HEAD has no body: that the bucket itself is missing only that to a GET says.
            return obstore.get(self.store, path).meta["size"]

    def stage(self, path: str) -> Staged:  # noqa: ARG002 - a folder needs it
        """On this machine's disk (TMPDIR): what it is to be called is known at its end."""
        return Staged()

    def adopt(self, staged: Staged, path: str) -> None:
        """The store shows it when it has all of it, and not before."""
        with keeping():
            staged.file.seek(0)
            obstore.put(self.store, path, staged.file, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)

    def refresh(self, path: str) -> None:
        """Nothing to do: moving it here is copying it, and a copy is new."""

    def sweep(self, age_s: float) -> int:  # noqa: ARG002 - a folder needs it
        """Nothing to do: unfinished uploads are the bucket's own to end (docs/object-store.md)."""
        return 0
