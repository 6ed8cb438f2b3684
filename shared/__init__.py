"""What API, workers and command line have in common: the canonical request and result, errors, settings, the
record store, blobs.

What can a model be asked, whatever the wire? `request.py` (`Request`).
Which errors can a caller meet? `errors.py` (`CODES`).
Which addresses may be contacted for a stranger? `url_guard.py` (`may_connect`).
"""

from pathlib import Path

VERSION = "0.1.0"
ROOT = Path(__file__).parents[1]
"""The folder of `api`, `worker` and this package: the checkout, or `service` in the installed package."""
