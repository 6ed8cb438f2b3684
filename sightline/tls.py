"""TLS of the API: what uvicorn is told of it, and how `sightline run` asks its own API."""

import ssl

from shared.settings import ApiSettings
from sightline.exits import CommandError, Exit


def flags(settings: ApiSettings) -> tuple[str, ...]:
    """Flags of uvicorn's command line; they name files, and a passphrase has no place there."""
    if settings.tls_cert is None:
        return ()
    return ("--ssl-certfile", str(settings.tls_cert), "--ssl-keyfile", str(settings.tls_key))


def check_tls(settings: ApiSettings) -> None:
    """Raises CommandError where uvicorn could not use the certificate."""
    if settings.tls_cert is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without this a key with a passphrase would ask for it at the terminal.
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        message = f"SIGHTLINE_API__TLS_CERT: the certificate and its key cannot be used ({reason})."
        raise CommandError(Exit.USAGE, message) from None


def trusting(settings: ApiSettings) -> ssl.SSLContext | bool:
    """What calls of our own API over loopback trust: its certificate and no other, whatever its name."""
    if settings.tls_cert is None:
        return True
    context = ssl.create_default_context(cafile=str(settings.tls_cert))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context
