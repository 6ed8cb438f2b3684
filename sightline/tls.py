"""TLS of the API: uvicorn's flags, a check of the certificate, and trust for `sightline run`'s own calls."""

import ssl

from shared.settings import ApiSettings
from sightline.exits import CommandError, Exit


def flags(settings: ApiSettings) -> tuple[str, ...]:
    """uvicorn's command-line flags; they name files, and never hold a passphrase."""
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
    """What our own calls of the API over loopback trust: its certificate alone, whatever name it has."""
    if settings.tls_cert is None:
        return True
    context = ssl.create_default_context(cafile=str(settings.tls_cert))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context
