"""`python -m worker -A worker.app worker …` runs Celery so that signals stop it from the first moment on.

Celery itself handles signals only once it consumes: after its imports, and after a model is loaded. What
crashes in native code leaves a traceback in the log.
"""

import faulthandler
import sys
from importlib import import_module

from shared.stopping import stop_at_once
from worker.imports import uncollected

if __name__ == "__main__":
    faulthandler.enable()
    stop_at_once()
    with uncollected():
        from celery.__main__ import main

        # Celery would import it with the working folder in front, whose packages are not ours.
        import_module(sys.argv[sys.argv.index("-A") + 1])
    main()
