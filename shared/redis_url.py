"""The parts of a Redis URL. No error's text ever holds the URL: it may hold a password."""

from urllib.parse import SplitResult, parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr


def split(url: SecretStr) -> SplitResult:
    """Raises ValueError."""
    try:
        parts = urlsplit(url.get_secret_value())
        known = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
        if known and database(parts) >= 0:
            return parts
    except ValueError:
        # Its text may quote the password.
        pass
    raise ValueError("should be redis://HOST:PORT/DATABASE or rediss://HOST:PORT/DATABASE")


def database(parts: SplitResult) -> int:
    """As redis-py reads it: `?db=` comes before the path."""
    return int(parse_qs(parts.query).get("db", [parts.path.strip("/") or "0"])[0])


def with_database(parts: SplitResult, number: int) -> str:
    """The same server, another database."""
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name != "db"])
    return urlunsplit(parts._replace(path=f"/{number}", query=query))
