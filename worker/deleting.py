"""Deleting what nobody needs any more, in step with the records that say who needs what."""

from contextlib import suppress

from shared.blobs import BlobMissingError, Blobs, BlobsUnavailable
from shared.store.jobs import deleted
from shared.store.script import Store


def delete(store: Store, blobs: Blobs, name: str) -> bool:
    """Delete doomed bytes; false where they were gone, or somebody has come to rely on them.

    That happens where this process stood still for longer than the mark under which uploads wait. Where the
    blob store cannot be reached, they are left to be collected.
    """
    with suppress(BlobMissingError, BlobsUnavailable):
        aside = blobs.set_aside(name)
        if store.run(deleted([name])):
            blobs.rename(aside, name)
            return False
        blobs.delete(aside)
        return True
    return False
