"""Replaces the documents of a request by their pages, before its pictures are checked.

From there on they are pictures like others: in the cache, the limits, the worker."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import TypeVar

from api.files import Files
from api.server.memory_budget import MemoryBudget, Reservation, reserved
from shared.media.documents import AT_ONCE, DOCUMENT, DocumentRenderer, room_for_pages
from shared.media.pictures import check_sizes
from shared.request import Document, Image, Medium, Request
from shared.settings import Settings

Rendered = TypeVar("Rendered")


class Documents:
    """Renders what came inline or is named as a file; what is to be fetched is the courier's."""

    def __init__(self, settings: Settings, files: Files) -> None:
        self._settings = settings
        self._files = files
        self._renderer = DocumentRenderer(settings)
        # Else those that wait would take all threads of the process.
        self._places = asyncio.Semaphore(AT_ONCE)
        self._process_bytes = settings.documents.decode_memory_mb * 2**20
        self._memory = MemoryBudget(AT_ONCE * self._process_bytes, shared=settings.api.admin_key is not None)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._renderer.close)

    async def with_pages(
        self, caller: str, request: Request, most: int | None, reservation: Reservation | None
    ) -> Request:
        """Return the request with pages, `most` of them if the model takes fewer than the service.

        Raises CallerError (`invalid_document`, `payload_too_large`, `file_not_found`), Unavailable
        `queue_full`.
        """
        if all(document.url for document in request.documents):
            return request
        room, media = room_for_pages(request, self._settings, most), list[Medium | tuple[Image, ...]]()
        before = list[Image]()
        for part in request.media:
            if not isinstance(part, Document) or part.url:
                media.append(part)
                continue
            pages = await self._rendered(caller, part, partial(self._pages, part, before, room))
            if reservation is not None:
                await reservation.take(sum(len(page.data or b"") for page in pages))
            before += pages
            media.append(pages)
        return request.with_media(media)

    async def first_page(
        self, caller: str, document: Document, most: int | None = None
    ) -> tuple[Sequence[int], tuple[Image, ...]]:
        """The pages asked about, at most `most`, and the first of them. Raises as `with_pages`."""
        render = partial(self._renderer.first_page, document, most=most)
        return await self._rendered(caller, document, render)

    def _pages(
        self, document: Document, before: Sequence[Image], room: int, data: bytes
    ) -> tuple[Image, ...]:
        """The pages of a request's document. Raises `payload_too_large` at the first that is too much."""
        pages = list(before)
        with closing(self._renderer.pictures(document, data, room - len(before))) as images:
            for page in images:
                pages.append(page)
                # As everywhere, the same bytes count once.
                sizes = {one.data: (len(one.data or b""), one.param) for one in pages}
                check_sizes(sizes.values(), self._settings.pictures)
        return tuple(pages[len(before) :])

    async def _rendered(
        self, caller: str, document: Document, render: Callable[[bytes], Rendered]
    ) -> Rendered:
        # Of the file, too, which is in memory only while it is rendered.
        async with reserved(self._memory, caller, self._process_bytes):
            data = await self._data(caller, document)
            async with self._places:
                return await asyncio.to_thread(render, data)

    async def _data(self, caller: str, document: Document) -> bytes:
        if document.file is None:
            return document.data or b""
        file = await self._files.get(caller, document.file, document.param)
        DOCUMENT.check_size(file.size, self._settings.documents, document.param)
        return await self._files.read(file, document.param)
