"""Deletes stored bytes that nobody needs any more, in step with the records that say who needs them."""

from contextlib import suppress

from shared.blobs import BlobMissingError, Blobs, BlobsUnavailable
from shared.store.jobs import deleted
from shared.store.script import Store


def delete(store: Store, blobs: Blobs, name: str) -> bool:
    """Delete doomed bytes; False if they were gone, or a job relies on them again.

    The latter happens if this process stood still for longer than the mark for which uploads wait. If the
    blob store cannot be reached, the bytes are left to be collected.
    """
    with suppress(BlobMissingError, BlobsUnavailable):
        aside = blobs.set_aside(name)
        if store.run(deleted([name])):
            blobs.rename(aside, name)
            return False
        blobs.delete(aside)
        return True
    return False
