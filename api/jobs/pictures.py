"""The pictures that a job asked about."""

from collections.abc import Sequence
from contextlib import suppress

from api.admission.media_check import PictureInfoCache
from api.dialects.native.questions import StoredPicture
from api.server.memory_budget import Reservation
from shared.blobs import BlobMissingError
from shared.request import Image


class JobPictures:
    """Reads what callers sent; knows nothing of HTTP."""

    def __init__(self, infos: PictureInfoCache) -> None:
        self._infos = infos

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
