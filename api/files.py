"""Callers' files: uploaded, listed, read, deleted; for a caller the files of others do not exist."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from api.auth.callers import Caller
from api.dialects.openai.files import from_fields, to_name
from api.server.memory_budget import Reservation
from api.server.multipart import FILE, MultipartForm
from shared import ids
from shared.blobs import BlobMissingError, Blobs, Staged
from shared.errors import CallerError
from shared.file import File, Purpose, Written
from shared.media.files import VIDEO, as_its_bytes, inspect_file, medium_of
from shared.media.pictures import PICTURE, check_sizes
from shared.request import Image, Medium, Request, Video
from shared.settings import Settings
from shared.store import files
from shared.store.files import DELETION_POLL_S, delete_blob, touch
from shared.store.headroom import Headroom
from shared.store.script import AsyncStore, LoopStore


class FileWriter:
    """Writes and deletes blobs in step with their records.

    It writes under a hold, since blobs without one are collected; the later owner takes over the hold.
    """

    def __init__(self, store: AsyncStore, blobs: Blobs, *, output: bool = False) -> None:
        """`output`: what it writes ends accepted work, which a full record store takes."""
        self._store = store
        self._blobs = blobs
        self._output = output

    async def write(
        self, upload: str, data: Mapping[str, bytes], unheld: Sequence[str] | None = None
    ) -> None:
        """Write bytes under their digests, held by `upload:<upload>` for an hour.

        `unheld` are those that are not held yet, by default all.
        """
        await self._hold(upload, tuple(data) if unheld is None else unheld)
        for name, content in data.items():
            await self._blobs.in_thread(self._blobs.write, name, content)

    async def adopt(self, upload: str, staged: Staged) -> None:
        """The same for a file that was staged."""
        await self._hold(upload, (staged.digest,))
        await self._blobs.in_thread(self._blobs.adopt, staged)

    async def forget(self, name: str) -> None:
        """As `delete_blob`, even if the caller stops waiting. Raises Unavailable."""
        deletion = self._blobs.in_thread(delete_blob, LoopStore(self._store), self._blobs, name)
        await asyncio.shield(deletion)

    async def _hold(self, upload: str, names: Sequence[str]) -> None:
        deleting = list(names)
        while deleting:
            deleting = await self._store.run(touch(names, upload, output=self._output))
            if deleting:
                await asyncio.sleep(DELETION_POLL_S)


T = TypeVar("T")
SIEVED = 100
"""Files read at a time when a list is filtered by purpose: matches may be rare."""


class Files:
    def __init__(self, settings: Settings, store: AsyncStore, blobs: Blobs, headroom: Headroom) -> None:
        self._settings = settings
        self._store = store
        self._blobs = blobs
        self._storing = FileWriter(store, blobs)
        self._headroom = headroom

    async def create(self, caller: Caller, receive: Callable[[MultipartForm], Awaitable[None]]) -> File:
        """Store an upload; `receive` reads the request into the form it is given.

        Raises CallerError (`invalid_request`, `unsupported_parameter`, `invalid_image`, `payload_too_large`),
        Unavailable `store_unavailable`.
        """
        await self._headroom.check()
        staged = await self._blobs.in_thread(self._blobs.stage)
        form = MultipartForm(staged, int(self._settings.api.file_limit_mb * 2**20))
        try:
            await receive(form)
            return await self._store_upload(caller, form)
        finally:
            await self._blobs.in_thread(staged.discard)

    async def get(self, caller: str, id: str, param: str | None = None) -> File:
        """Raises CallerError `file_not_found` naming `param`."""
        file = await self._store.run(files.file(caller, id))
        if file is None:
            raise CallerError("file_not_found", "There is no such file.", param=param)
        return file

    async def list(
        self, caller: str, *, limit: int, after: str | None, oldest_first: bool, purpose: Purpose | None
    ) -> tuple[list[File], bool]:
        """A page of files by creation, and whether there are more. Raises CallerError `file_not_found`."""
        listed: list[File] = []
        size = max(limit + 1, 1 if purpose is None else SIEVED)
        while len(listed) <= limit:
            call = files.files(caller, after=after, limit=size, oldest_first=oldest_first)
            page = await self._store.run(call)
            if page is None:
                raise CallerError("file_not_found", "The cursor names no file of yours.", param="after")
            listed += [file for file in page if purpose in (None, file.purpose)]
            if len(page) < size:
                break
            after = page[-1].id
        return listed[:limit], len(listed) > limit

    async def delete(self, caller: str, id: str) -> None:
        """Raises CallerError `file_not_found`."""
        orphans = await self._store.run(files.delete(caller, id))
        if orphans is None:
            raise CallerError("file_not_found", "There is no such file.")
        for name in orphans:
            await self._storing.forget(name)

    async def content(self, file: File) -> AsyncIterator[bytes]:
        """The bytes of a file, in pieces. Raises CallerError `file_not_found`."""
        return await self._or_404(self._blobs.stream(file.digest), None)

    async def with_kinds(self, caller: str, request: Request) -> Request:
        """The request with each part that names a file as what the file begins like.

        Raises CallerError (`file_not_found`, `invalid_document`).
        """

        async def told(part: Medium) -> Medium:
            if part.file is None:
                return part
            file = await self.get(caller, part.file, part.param)
            head = self._blobs.in_thread(self._blobs.head, file.digest)
            return as_its_bytes(part, await self._or_404(head, part.param))

        if all(part.file is None for part in request.media):
            return request
        return request.with_media([await told(part) for part in request.media])

    async def with_files(self, caller: str, request: Request, reservation: Reservation | None) -> Request:
        """The request with the bytes of the media that it names as files, as if they had come inline.

        Raises CallerError (`file_not_found`, `payload_too_large`), Unavailable `queue_full`.
        """
        named = {part.file: part for part in request.media if part.file is not None}
        if not named:
            return request
        files = [(await self.get(caller, id, part.param), part.param) for id, part in named.items()]
        still = []
        for file, param in files:
            if isinstance(named[file.id], Video):
                VIDEO.check_size(file.size, self._settings.videos, param)
            else:
                PICTURE.check_size(file.size, self._settings.pictures, param)
                still.append((file.size, param))
        check_sizes(still, self._settings.pictures)
        if reservation is not None:
            await reservation.take(sum(file.size for file, _ in files))
        data = {file.id: await self.read(file, param) for file, param in files}
        return request.with_media(
            tuple(
                type(part)(data=data[part.file], param=part.param) if part.file is not None else part
                for part in request.media
            )
        )

    async def read(self, file: File, param: str | None) -> bytes:
        """The bytes of a file. Raises CallerError `file_not_found` naming `param`."""
        return await self._or_404(self._blobs.in_thread(self._blobs.read, file.digest), param)

    async def _or_404(self, reading: Awaitable[T], param: str | None) -> T:
        try:
            return await reading
        except BlobMissingError:
            message = "The bytes of this file are no longer kept."
            raise CallerError("file_not_found", message, param=param) from None

    async def _store_upload(self, caller: Caller, form: MultipartForm) -> File:
        purpose, life_s = from_fields(form.fields)
        if form.filename is None:
            raise CallerError("invalid_request", "`file` is required.", param=FILE)
        if form.staged.size == 0:
            raise CallerError("invalid_request", "`file` is empty.", param=FILE)
        form.staged.finish()
        if purpose == "vision":
            await asyncio.to_thread(_check_medium, form.staged, self._settings)
        id = ids.file_id()
        await self._storing.adopt(id, form.staged)
        stored = Written(
            id=id,
            name=to_name(form.filename),
            purpose=purpose,
            size=form.staged.size,
            digest=form.staged.digest,
            life_s=life_of(caller, life_s, self._settings),
            holder=f"upload:{id}",
        )
        return await self._store.run(files.create(stored, caller.id))


def life_of(caller: Caller, wanted_s: int | None, settings: Settings) -> int:
    """How long a file is kept: as the upload asks, but no longer than the caller's key allows."""
    if caller.retain_s is None:
        return wanted_s or settings.retention.file_s
    return min(wanted_s or caller.retain_s, caller.retain_s)


def _check_medium(staged: Staged, settings: Settings) -> None:
    """What a model may be shown, of whichever kind its bytes are."""
    most = max(settings.pictures.max_mb, settings.videos.max_mb, settings.documents.max_mb)
    if staged.size > most * 2**20:
        limit = f"{most:g} MiB (SIGHTLINE_PICTURES__MAX_MB, VIDEOS__ or DOCUMENTS__)"
        message = f"A file for a model may have at most {limit}."
        raise CallerError("payload_too_large", message, param=FILE)
    data = staged.read()
    inspect_file(medium_of(data) or Image, data, settings, FILE)
