"""Pairs of metadata as the store's lists name them."""

import hashlib
from collections.abc import Mapping


def digests(metadata: Mapping[str, str]) -> list[str]:
    """One for each pair, which no other pair has."""
    return [
        hashlib.sha256(f"{len(name)} {name}{value}".encode()).hexdigest()[:32]
        for name, value in metadata.items()
    ]
