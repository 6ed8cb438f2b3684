"""`sightline store`: gives a blob store to the record store that refers to it."""

from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.settings import SettingsError, load_settings
from shared.store.files import identity
from shared.store.script import connect
from sightline.commands import commands
from sightline.exits import CommandError, Exit
from sightline.terminal import note

EXAMPLES = """\
examples:
  sightline store adopt    SIGHTLINE_BLOBS__URL's pictures for SIGHTLINE_REDIS__URL
"""
app = commands("Give stored pictures to another record store.", EXAMPLES)


@app.command("adopt")
def _adopt() -> None:
    """Let the blob store belong to this record store.

    A record store deletes pictures only in its own blob store, because others may need what it does not know.
    After its records were lost or moved, the blob store still names the former one.
    """
    try:
        settings = load_settings()
        store = connect(settings.redis)
        id = store.run(identity())
    except SettingsError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    except Unavailable as error:
        raise CommandError(Exit.REDIS, error.message) from None
    Blobs(settings.blobs).assign(id)
    note(f"{settings.blobs.url} belongs to the record store {id}")
