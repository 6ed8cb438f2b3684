"""Errors of a folder or an object store, in two kinds: the bytes are missing, or the store is unavailable."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, NotFoundError

from shared.errors import Unavailable

log = logging.getLogger("shared.blobs")

GONE = (NotFoundError, FileNotFoundError)
"""obstore's folder raises the second, its object stores the first."""
NO_BUCKET = re.compile("NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
"""What object stores say, with the same 404, where not the object but the whole bucket is missing."""
STATUS = re.compile(r"\b[345]\d\d [A-Z][A-Za-z ]+")
SYSTEM = re.compile(r"\(os error (\d+)\)")
"""Where obstore's errors of a folder hold the system's errno, which they do not have as a field."""
RETRY_AFTER_S = 30


class BlobMissingError(Exception):
    """Blobs that a record names are not in the store: `names` has their digests, as asked for."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.names = names


class BlobsUnavailable(Unavailable):
    """The blob store is full, out of reach or refuses us: no caller's mistake, and it may pass."""

    def __init__(self, what: str) -> None:
        message = f"Pictures and files cannot be {what} now; try again later."
        super().__init__("store_unavailable", message, retry_after=RETRY_AFTER_S)


@contextmanager
def keeping() -> Iterator[None]:
    """Around what writes. Raises BlobsUnavailable."""
    try:
        yield
    except (OSError, BaseError) as error:
        log.warning("the blob store cannot be written: %s", reason(error))
        raise BlobsUnavailable("kept") from None


@contextmanager
def finding(name: str) -> Iterator[None]:
    """Around what reads, moves or deletes. Raises BlobMissingError, BlobsUnavailable."""
    try:
        yield
    except (OSError, BaseError) as error:
        if isinstance(error, GONE) and not NO_BUCKET.search(str(error)):
            raise BlobMissingError(name) from None
        log.warning("the blob store cannot be read: %s", reason(error))
        raise BlobsUnavailable("read") from None


def reason(error: Exception) -> str:
    """Enough for an operator, and none of the store's own words: they may hold a signed URL."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if system := SYSTEM.search(str(error)):
        return os.strerror(int(system.group(1)))
    match = NO_BUCKET.search(str(error)) or STATUS.search(str(error))
    return f"{type(error).__name__} ({match.group()})" if match else type(error).__name__
