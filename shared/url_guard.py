"""Which URLs and addresses this service may contact on a stranger's behalf.

The door refuses what the text alone condemns; the fetcher asks again for every resolved address and every
redirect, since a name can point anywhere (server-side request forgery, OWASP A10:2021).
"""

import ipaddress
import re
import string
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

import idna

from shared.errors import CallerError

IPAddress = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_CHARS = 8192
DEFAULT_PORTS = {"http": 80, "https": 443}
PORTS = frozenset({80, 443, 8080, 8443})
LOOPBACK = IPv4Address("127.0.0.1")

# What `ipaddress` calls global although no public host lives there, depending on the Python patch release.
NOT_PUBLIC_V4 = tuple(
    IPv4Network(net)
    for net in (
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "168.63.129.16/32",  # the host agent of Azure machines
        "192.0.0.0/24",  # IETF protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",  # multicast
    )
)
GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
NOT_PUBLIC_V6 = tuple(
    IPv6Network(net)
    for net in (
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 carries an IPv4 address
        "3fff::/20",  # documentation, RFC 9637
    )
)
# IPv6 networks whose last 32 bits are an IPv4 address: compatible, mapped, translated, NAT64.
CARRIES_V4 = tuple(IPv6Network(net) for net in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
SIX_TO_FOUR = IPv6Network("2002::/16")
# Cloud metadata answers here with credentials, so no setting opens these.
NEVER: tuple[Network, ...] = (
    IPv4Network("169.254.0.0/16"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::254/128"),  # Amazon
    IPv6Network("fd20:ce::254/128"),  # Google
    IPv6Network("fd00:42::42/128"),  # Scaleway
    IPv4Network("100.100.100.200/32"),  # Alibaba
    IPv4Network("192.0.0.192/32"),  # Oracle
    IPv4Network("168.63.129.16/32"),  # Azure
)
# Ends a refusal: what a caller who tries a receiver on their own machine needs to know next.
EXEMPT = "; SIGHTLINE_FETCH__ALLOW of the service exempts hosts"
PRIVATE_SUFFIXES = (".local", ".internal", ".localdomain", ".home.arpa")
# Zero-width joiner and non-joiner: not printable, but letters of Persian or of Indian scripts need them.
JOINERS = re.compile("[\u200c\u200d]")
BUCKET_SCHEMES = ("s3://", "gs://", "az://")
_BUCKET_ENTRY = re.compile(
    r"(?:(?P<caller>[a-z0-9][a-z0-9._-]{0,63})=)?"
    r"(?P<place>(?:s3|gs|az)://[a-z0-9][a-z0-9._-]{1,62}(?:/[^\s?#@\\]*)?)"
)
HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Target(NamedTuple):
    """A URL that passed: `host` is lower-case ASCII without brackets, `path` the request target."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def address(self) -> IPAddress | None:
        """The host where it needs no look-up: an address, or the loopback's reserved names (RFC 6761)."""
        is_loopback = self.host == "localhost" or self.host.endswith(".localhost")
        return LOOPBACK if is_loopback else _literal(self.host)


class AddressRules(NamedTuple):
    """Hosts and networks that an operator exempts from the guard, and that nobody may contact.

    A host in `deny` stands for all names below it too, and what is in both is denied.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def exempts(self, ip: IPAddress | None, host: str) -> bool:
        return any(entry.lower() == host or _within(ip, entry) for entry in self.allow)

    def refuses(self, ip: IPAddress | None, host: str) -> bool:
        return any(
            f".{host}".endswith(f".{entry.lower()}") or _within(ip, entry) or _within(_carried(ip), entry)
            for entry in self.deny
        )


class BucketObject(NamedTuple):
    """An object of a bucket that passed."""

    scheme: str
    bucket: str
    key: str


class BucketRules(NamedTuple):
    """Where in buckets callers may name files: `SCHEME://BUCKET/PREFIX` each.

    After `CALLER=` it is for that caller only; `{caller}` in a prefix stands for whoever asks.
    """

    entries: tuple[str, ...] = ()

    def check(self, url: str, caller: str, param: str | None) -> BucketObject:
        """Refuse what lies outside of what the caller may name. Raises CallerError `invalid_image_url`."""
        prefixes = self._prefixes(caller)
        scheme, _, place = url.strip().partition("://")
        bucket, _, key = place.partition("/")
        target = BucketObject(scheme.lower(), bucket, key)
        if not prefixes:
            message = "This service reads nothing from buckets for you; SIGHTLINE_FETCH__BUCKETS names some"
            raise _refusal(f"{message}. Or send the file itself.", param)
        if not key.isprintable() or not {"", ".", ".."}.isdisjoint(key.split("/")):
            raise _refusal("The URL names no object of a bucket, such as s3://bucket/folder/a.jpg.", param)
        if not f"{target.scheme}://{bucket}/{key}".startswith(prefixes):
            message = f"You may name what lies under {', '.join(prefixes)}"
            raise _refusal(f"{message}. Name a file there, or send it itself.", param)
        return target

    def _prefixes(self, caller: str) -> tuple[str, ...]:
        """Each ends at a slash: `photos` does not stand for `photos-of-others`."""
        entries = (_BUCKET_ENTRY.fullmatch(entry) for entry in self.entries)
        mine = (entry for entry in entries if entry and entry["caller"] in (None, caller))
        places = (entry["place"].replace("{caller}", caller).rstrip("/") for entry in mine)
        return tuple(f"{place}/" for place in places)


def may_name_bucket(entry: str) -> bool:
    """Whether an entry of `BucketRules` is well-formed."""
    match = _BUCKET_ENTRY.fullmatch(entry)
    return match is not None and {".", ".."}.isdisjoint(match["place"].split("/"))


def is_in_bucket(url: str) -> bool:
    return url.lower().startswith(BUCKET_SCHEMES)


def is_public(ip: IPAddress) -> bool:
    """Whether a host of the public internet can live at `ip`; addresses that carry another one cannot."""
    if isinstance(ip, IPv4Address):
        return ip.is_global and not any(ip in net for net in NOT_PUBLIC_V4)
    return ip in GLOBAL_UNICAST_V6 and ip.is_global and not any(ip in net for net in NOT_PUBLIC_V6)


def may_connect(ip: IPAddress, host: str, reach: AddressRules) -> bool:
    """Whether `host` may be contacted at `ip`: public or exempted, and never denied or cloud metadata."""
    if _is_never_opened(ip):
        return False
    return not reach.refuses(ip, host) and (is_public(ip) or reach.exempts(ip, host))


def exemption(*ips: IPAddress) -> str:
    """How a refusal of these addresses says to exempt their host; "" where no setting can."""
    return "" if any(map(_is_never_opened, ips)) else EXEMPT


def may_match(entry: str) -> bool:
    """Whether an entry of `Reach` can match anything: a network, or a host as `check_url` spells it."""
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        host = entry.lower()
        return bool(HOST.fullmatch(host)) and not NUMBER.fullmatch(host.rpartition(".")[2])
    return True


def check_url(url: str, reach: AddressRules, param: str | None) -> Target:
    """Refuse a URL whose text alone shows that it must not be fetched.

    What `reach` allows is exempt from the address and port rules, not from the rules on form. Spellings of an
    address other than the canonical one are refused, exempt or not: nobody needs them, and libraries read
    them differently. Raises CallerError `invalid_image_url`.
    """
    parts = _split(url, param)
    host = _host(parts, param)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = Target(parts.scheme, host, _port(parts, param), quote(path, safe=string.punctuation))
    ip = target.address
    if reach.refuses(ip, host):
        raise _refusal("This service does not contact the URL's host.", param)
    if ip is not None and not may_connect(ip, host, reach):
        raise _refusal(f"The URL names an address that is not public{exemption(ip)}.", param)
    exempt = reach.exempts(ip, host)
    if host.endswith(PRIVATE_SUFFIXES) and not exempt:
        raise _refusal(f"The URL names a private host{EXEMPT}.", param)
    if target.port not in PORTS and not exempt:
        raise _refusal(f"Port {target.port} is not one of {', '.join(map(str, sorted(PORTS)))}.", param)
    return target


@contextmanager
def refused_as(code: str) -> Iterator[None]:
    """Turns the refusal of an address, which is a picture's, into one of another kind of file.

    Raises CallerError.
    """
    try:
        yield
    except CallerError as error:
        if error.code != "invalid_image_url":
            raise
        raise CallerError(code, error.message, param=error.param) from None


def _split(url: str, param: str | None) -> SplitResult:
    if len(url) > MAX_URL_CHARS:
        raise _refusal(f"The URL is longer than {MAX_URL_CHARS} characters.", param)
    if not JOINERS.sub("", url).isprintable() or "\\" in url:
        raise _refusal("The URL holds control characters or backslashes.", param)
    try:
        # As browsers do: blanks around a URL are no part of it, those inside are encoded.
        parts = urlsplit(url.strip(" "))
    except ValueError:
        raise _refusal("The URL cannot be parsed.", param) from None
    if parts.scheme not in DEFAULT_PORTS:
        raise _refusal("Only http and https URLs are allowed.", param)
    if "@" in parts.netloc:
        raise _refusal("The URL holds credentials.", param)
    return parts


def _host(parts: SplitResult, param: str | None) -> str:
    name = (parts.hostname or "").removesuffix(".")
    if "[" in parts.netloc:
        if not isinstance(_literal(name), IPv6Address):
            raise _refusal("The URL's host is not a valid address.", param)
        return name
    try:
        # This folds full-width digits and dots into ASCII ones, so it comes before every other check.
        folded = idna.uts46_remap(name[:254], std3_rules=False, transitional=False)
        name = ".".join(map(_ascii_label, folded.split(".")))
    except UnicodeError:
        name = ""
    if len(name) > 253 or not HOST.fullmatch(name):
        raise _refusal("The URL has no valid host.", param)
    if NUMBER.fullmatch(name.rpartition(".")[2]) and _literal(name) is None:
        raise _refusal("The URL spells an address in an unusual way.", param)
    return name


def _ascii_label(label: str) -> str:
    """As browsers do (UTS 46, not transitional): `ß` is not `ss`, emoji are letters. Raises UnicodeError."""
    if label.isascii():
        return label
    if JOINERS.search(label):
        return idna.alabel(label).decode("ascii")
    return f"xn--{label.encode('punycode').decode('ascii')}"


def _port(parts: SplitResult, param: str | None) -> int:
    try:
        port = parts.port
    except ValueError:
        raise _refusal("The URL's port is not a number below 65536.", param) from None
    return DEFAULT_PORTS[parts.scheme] if port is None else port


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host) if "%" not in host else None
    except ValueError:
        return None


def _carried(ip: IPAddress | None) -> IPv4Address | None:
    """The IPv4 address inside an IPv6 one."""
    if not isinstance(ip, IPv6Address):
        return None
    if ip in SIX_TO_FOUR:
        return ip.sixtofour
    return IPv4Address(int(ip) & 0xFFFFFFFF) if any(ip in net for net in CARRIES_V4) else None


def _is_never_opened(ip: IPAddress) -> bool:
    return any(form in net for form in (ip, _carried(ip)) if form is not None for net in NEVER)


def _within(ip: IPAddress | None, entry: str) -> bool:
    try:
        return ip is not None and ip in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False  # The entry is a host.


def _refusal(message: str, param: str | None) -> CallerError:
    return CallerError("invalid_image_url", message, param=param)
