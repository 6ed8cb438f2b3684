"""`python -m sightline` is the command `sightline`."""

import sys

from sightline.entry import main

sys.exit(main())
