"""Model time for the server's own expiry: letting an hour pass takes an hour off every time to live."""

import time

from tests.support.store import Records

DRIFT_S = 1.0


class Clock:
    """Gives back the time that really passes, so that nothing expires early on a slow machine."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._set = time.monotonic()

    def advance(self, ms: int) -> None:
        self._records.now += ms
        passed = time.monotonic() - self._set
        if ms / 1000 > DRIFT_S or passed > DRIFT_S:
            self._set += passed
            self._shorten(ms - round(passed * 1000))

    def _shorten(self, ms: int) -> None:
        client = self._records.client
        keys = sorted(self._records.key_names())
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.pttl(key)
        for key, left in zip(keys, pipe.execute(), strict=True):
            if 0 <= left <= ms:
                pipe.delete(key)
            elif left >= 0:
                pipe.pexpire(key, left - ms)
        pipe.execute()
