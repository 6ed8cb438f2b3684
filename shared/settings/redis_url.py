"""The parts of a Redis URL. No error's text ever holds the URL: it may hold a password."""

from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr


def split(url: SecretStr) -> SplitResult:
    """Raises ValueError."""
    try:
        parts = urlsplit(url.get_secret_value())
        known = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
        # At a `#`, `/` or `?` of the password the server's name would end, and a piece of it be connected to.
        # Behind a database's number nothing of the password is left.
        whole = not parts.fragment and ("@" not in parts.query or parts.path.strip("/").isdigit())
        if known and whole and database(parts) >= 0:
            return parts
    except ValueError:
        # Its text may quote the password.
        pass
    raise ValueError(
        "should be redis://HOST:PORT/DATABASE or rediss://HOST:PORT/DATABASE; "
        "in a password write # as %23, / as %2F, ? as %3F and @ as %40"
    )


def database(parts: SplitResult) -> int:
    """As redis-py reads it: `?db=` comes before the path."""
    return int(parse_qs(parts.query).get("db", [parts.path.strip("/") or "0"])[0])


def to_connect(parts: SplitResult, number: int, tls: Mapping[str, str]) -> str:
    """One database of the server, with what its clients are to know of TLS (`ssl_ca_certs`, …).

    Whether the server's certificate is asked for stands there in any case: Celery speaks no TLS without.
    """
    said = {name: value for name, value in parse_qsl(parts.query) if name != "db"}
    asked = {"ssl_cert_reqs": "required"} if parts.scheme == "rediss" else {}
    return urlunsplit(parts._replace(path=f"/{number}", query=urlencode(asked | said | dict(tls))))
