"""Writes and deletes blobs, in step with the records that say who needs them."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from shared.blobs import BlobMissingError, Blobs, BlobsUnavailable, Staged
from shared.store.admission import DELETION_POLL_S, Prospect, touch
from shared.store.jobs import deleted
from shared.store.script import AsyncStore, ScriptCall


class Storing:
    """Writes under a hold, since blobs without a hold are collected; the later owner takes over the hold."""

    def __init__(self, store: AsyncStore, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs

    async def write(self, upload: str, data: Mapping[str, bytes]) -> None:
        """Write bytes under their digests, held by `upload:<upload>` for an hour."""
        await self._hold(upload, tuple(data))
        for name, content in data.items():
            await self._blobs.write_async(name, content)

    async def adopt(self, upload: str, staged: Staged) -> None:
        """The same for a file that was staged."""
        await self._hold(upload, (staged.digest,))
        await asyncio.to_thread(self._blobs.adopt, staged)

    async def check_reading(self, foreseen: ScriptCall[Prospect]) -> None:
        """Raises BlobsUnavailable where no worker can read the blobs and no earlier answer will do."""
        unread = await self._blobs.reach() == "unreachable"
        if unread and (await self._store.run(foreseen)).word != "hit":
            raise BlobsUnavailable("read")

    async def forget(self, name: str) -> None:
        """Delete a doomed blob, even if the caller stops waiting. Raises Unavailable.

        It is put back where deleting took so long that somebody needs it again. Where the blob store cannot
        be reached, the blob is left to be collected.
        """
        await asyncio.shield(self._forget(name))

    async def _forget(self, name: str) -> None:
        with suppress(BlobMissingError, BlobsUnavailable):
            aside = await asyncio.to_thread(self._blobs.set_aside, name)
            if await self._store.run(deleted([name])):
                await asyncio.to_thread(self._blobs.rename, aside, name)
            else:
                await asyncio.to_thread(self._blobs.delete, aside)

    async def _hold(self, upload: str, names: tuple[str, ...]) -> None:
        while await self._store.run(touch(names, upload)):  # noqa: ASYNC110 - another process deletes
            await asyncio.sleep(DELETION_POLL_S)
