"""The pictures that a job asked about: their sizes, and thumbnails of them.

A thumbnail is made when it is first asked for, and kept as a blob for as long as its picture is.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from hashlib import blake2s

from api.admission.media_check import PictureInfoCache
from api.dialects.native.questions import StoredPicture
from api.files import FileWriter
from api.server.memory_budget import MemoryBudget, Reservation, reserved
from shared import ids
from shared.blobs import BlobMissingError, Blobs
from shared.errors import CallerError, Unavailable
from shared.media import machine_memory
from shared.media.decoder_process import DecoderPool
from shared.media.pictures import PICTURE, PictureInfo, decoding
from shared.media.sizes import Room
from shared.request import Image
from shared.settings import Settings
from shared.store.files import keep_thumbnail
from shared.store.script import AsyncStore

SIDES = (64, 128, 256, 512)
AT_ONCE = 2


class JobPictures:
    def __init__(self, settings: Settings, store: AsyncStore, blobs: Blobs, infos: PictureInfoCache) -> None:
        limits = settings.pictures
        self._infos = infos
        self._store = store
        self._blobs = blobs
        self._storing = FileWriter(store, blobs)
        self._pool = DecoderPool(PICTURE, "shared.media.decode_picture", limits, AT_ONCE)
        # Else those that wait would take all threads of the process.
        self._places = asyncio.Semaphore(AT_ONCE)
        self._memory = MemoryBudget(
            limits.decode_memory_mb * 2**20, shared=settings.api.admin_key is not None
        )
        self._making: dict[str, asyncio.Task[bytes]] = {}

    async def aclose(self) -> None:
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        await asyncio.to_thread(self._pool.close)

    async def facts(self, images: Sequence[Image], reservation: Reservation) -> list[StoredPicture]:
        """Those that are here and kept. Raises BlobsUnavailable, Unavailable `queue_full`."""
        stored: list[StoredPicture] = []
        for place, image in enumerate(images):
            with suppress(BlobMissingError):
                sizes = await self._infos.sizes([image.digest] if image.digest else [])
                for size in sizes.values():
                    (info,) = await self._infos.infos([image], sizes, reservation)
                    stored.append(StoredPicture(place, size, info))
        return stored

    async def only(self, image: Image, reservation: Reservation) -> StoredPicture:
        """Of one picture. Raises CallerError `result_expired`, and as `facts`."""
        for picture in await self.facts([image], reservation):
            return picture
        raise _result_expired()

    async def whole(self, image: Image) -> AsyncIterator[bytes]:
        """A picture as it was sent, in pieces. Raises CallerError `result_expired`, BlobsUnavailable."""
        try:
            return await self._blobs.stream(image.digest or "")
        except BlobMissingError:
            raise _result_expired() from None

    async def thumbnail(
        self, caller: str, job: str, image: Image, picture: StoredPicture, side: int
    ) -> bytes:
        """A JPEG with the next of `SIDES`; callers that ask at the same time share its making.

        Raises CallerError (`invalid_image`, `result_expired`), BlobsUnavailable, Unavailable `queue_full`.
        """
        side = next(known for known in SIDES if side <= known)
        # Not the hash that names what callers store: none of it must be taken for a thumbnail.
        name = blake2s(f"{image.digest} {side}".encode()).hexdigest()
        with suppress(BlobMissingError):
            return await self._blobs.in_thread(self._blobs.read, name)
        making = self._making.get(name)
        if making is None:
            making = asyncio.create_task(self._make(caller, image, picture, side))
            self._making[name] = making
            making.add_done_callback(lambda made: self._on_done(name, made))
        data = await asyncio.shield(making)
        # A service that can keep nothing more can still show it.
        with suppress(Unavailable):
            await self._keep(caller, job, image, name, data)
        return data

    def _on_done(self, name: str, made: "asyncio.Task[bytes]") -> None:
        del self._making[name]
        # Its error may be nobody's by now: those who waited for it may have left.
        made.cancelled() or made.exception()

    async def _make(self, caller: str, image: Image, picture: StoredPicture, side: int) -> bytes:
        info = picture.info
        async with reserved(self._memory, caller, info.memory + picture.size):
            try:
                data = await self._blobs.in_thread(self._blobs.read, image.digest or "")
                async with self._places:
                    return await asyncio.to_thread(self._decode, info, side, data)
            except BlobMissingError:
                raise _result_expired() from None

    def _decode(self, info: PictureInfo, side: int, data: bytes) -> bytes:
        request = decoding(info, Room(side, side**2), thumbnail=True)
        with machine_memory.reserved(info.memory):
            return bytes(self._pool.decode(data, None, **request).data)

    async def _keep(self, caller: str, job: str, image: Image, name: str, data: bytes) -> None:
        upload = ids.token()
        await self._storing.write(upload, {name: data})
        await self._store.run(keep_thumbnail(caller, job, image.digest or "", name, upload))


def _result_expired() -> CallerError:
    return CallerError("result_expired", "The pictures of this job are no longer kept.")
