"""How long a test waits for what must come, before it fails; nothing that is right waits so long.

`TEST_PATIENCE=3` triples it, for a machine that is very slow.
"""

import os

PATIENCE_S = 60.0 * float(os.environ.get("TEST_PATIENCE", "1"))
