"""Reads a request's stored pictures or sounds, few of them in memory at a time."""

from collections.abc import Iterator, Sequence

from shared.blobs import BlobMissingError, Blobs

CACHED_BYTES = 8 * 2**20
"""Bytes of a request after which no more files stay in memory; the others are read at each pass."""


class BlobReader:
    """Files by their names in the blob store; a name given twice yields its file twice."""

    def __init__(self, blobs: Blobs, names: Sequence[str]) -> None:
        """Raises BlobMissingError with every missing name, BlobsUnavailable."""
        self._blobs = blobs
        self._names = names
        self._cached: dict[str, bytes] = {}
        missing = [name for name in dict.fromkeys(names) if not self._exists(name)]
        if missing:
            blobs.check_mounted()
            raise BlobMissingError(*missing)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[bytes]:
        """Raises BlobMissingError, BlobsUnavailable."""
        for name in self._names:
            yield self._cached[name] if name in self._cached else self._blobs.read(name)

    def _exists(self, name: str) -> bool:
        try:
            if sum(map(len, self._cached.values())) < CACHED_BYTES:
                self._cached[name] = self._blobs.read(name)
            else:
                self._blobs.size(name)
        except BlobMissingError:
            return False
        return True


Files = BlobReader | Sequence[bytes]
"""Files that can be iterated over repeatedly."""
