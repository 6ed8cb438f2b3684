"""`python -m worker -A worker.app worker …` is Celery, which may be stopped from its first moment on.

Celery takes the signals when it begins to consume: behind its imports, and behind the loading of a model.
"""

from shared.stopping import stop_at_once

if __name__ == "__main__":
    stop_at_once()
    from celery.__main__ import main

    main()
