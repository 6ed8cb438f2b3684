"""Fetches one file from a bucket that the operator named, with the operator's credentials."""

from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

from shared.media.kinds import Kind
from shared.settings import FetchSettings
from shared.url_guard import BucketObject
from worker.fetching.fetch import HOSTS, FetchError
from worker.fetching.guarded_http import Allowance, OriginError, describe

if TYPE_CHECKING:
    from obstore.store import ClientConfig

PIECE = 64 * 2**10
STORES = 64
"""Buckets whose clients are kept."""


def fetch_object(
    target: BucketObject,
    settings: FetchSettings,
    max_bytes: int,
    param: str | None,
    allowance: Allowance,
    kind: Kind,
) -> bytes:
    """The object's bytes, without retries. Raises FetchError, Unavailable `queue_full`."""
    try:
        with allowance.place(HOSTS, target.bucket):
            return _read(_store(target.scheme, target.bucket, settings.limit_s), target, max_bytes, allowance)
    except (NotFoundError, FileNotFoundError):
        reason = "the bucket has no such object"
    except (PermissionDeniedError, UnauthenticatedError):
        reason = "the bucket refuses the service's credentials"
    except (OriginError, OSError) as fault:
        reason = describe(fault, "bucket", settings.limit_s)
    except (BaseError, ValueError):
        reason = "the bucket could not be read"
    raise FetchError(kind, reason, param)


def _read(store: ObjectStore, target: BucketObject, max_bytes: int, allowance: Allowance) -> bytes:
    found = obstore.get(store, target.key)
    if found.meta["size"] > max_bytes:
        raise OriginError(f"it is larger than {max_bytes} bytes")
    content = bytearray()
    for piece in found.stream(min_chunk_size=PIECE):
        allowance.remaining_s()
        allowance.count_bytes(len(piece))
        content += piece
    return bytes(content)


@lru_cache(STORES)
def _store(scheme: str, bucket: str, limit_s: float) -> ObjectStore:
    """A client of the whole bucket. `allow_http` permits an endpoint that the operator set to http."""
    limit = timedelta(seconds=limit_s)
    client: ClientConfig = {"connect_timeout": limit, "timeout": limit, "allow_http": True}
    return from_url(f"{scheme}://{bucket}", client_options=client, retry_config={"max_retries": 0})
