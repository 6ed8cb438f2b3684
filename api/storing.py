"""Bytes into the blob store and out of it, in step with the records that say who needs them."""

import asyncio
from collections.abc import Mapping

from shared.blobs import Blobs, Staged
from shared.blobs.deleting import delete
from shared.store.admission import DELETION_POLL_S, touch
from shared.store.script import AsyncStore, LoopStore


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

    async def forget(self, name: str) -> None:
        """Delete what is doomed, to the end also where its caller stops waiting. Raises Unavailable."""
        await self._blobs.beside(delete, LoopStore(self._store), self._blobs, name)

    async def _hold(self, upload: str, names: tuple[str, ...]) -> None:
        while await self._store.run(touch(names, upload)):  # noqa: ASYNC110 - another process deletes
            await asyncio.sleep(DELETION_POLL_S)
