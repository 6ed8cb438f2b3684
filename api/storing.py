"""Bytes into the blob store and out of it, in step with the records that say who needs them."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from shared.blobs import BlobMissingError, Blobs, BlobsUnavailable, Staged
from shared.store.admission import DELETION_POLL_S, Prospect, touch
from shared.store.jobs import deleted
from shared.store.script import AsyncStore, Call


class Storing:
    """Writes under a hold: what nobody holds is collected. Whoever is to need it takes over the hold."""

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

    async def check_reading(self, foreseen: Call[Prospect]) -> None:
        """Raises BlobsUnavailable where no worker can read what is kept, and no earlier answer is told."""
        unread = await self._blobs.reach() == "unreachable"
        if unread and (await self._store.run(foreseen)).word != "hit":
            raise BlobsUnavailable("read")

    async def forget(self, name: str) -> None:
        """Delete what is doomed, to the end also where its caller stops waiting. Raises Unavailable.

        It is put back where that took so long that somebody relies on it by now. Where the blob store cannot
        be reached, what nobody needs is left to be collected.
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
