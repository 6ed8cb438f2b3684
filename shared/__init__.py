"""What API, workers and command line have in common: the canonical request and result, errors, settings, the
record store, blobs. Imports none of them.
"""

from pathlib import Path

VERSION = "0.1.0"
ROOT = Path(__file__).parents[1]
"""The folder of `api`, `worker` and this package: the checkout, or `service` in the installed package."""
