"""The digests of metadata pairs by which the store names its lists."""

import hashlib
from collections.abc import Mapping


def digests(metadata: Mapping[str, str]) -> list[str]:
    """A digest for each pair, different from every other pair's."""
    return [
        hashlib.sha256(f"{len(name)} {name}{value}".encode()).hexdigest()[:32]
        for name, value in metadata.items()
    ]
