from ipaddress import ip_address
from urllib.parse import quote

import pytest

from shared.errors import CallerError
from shared.settings import FetchSettings
from shared.url_guard import (
    AddressRules,
    BucketObject,
    BucketRules,
    check_url,
    is_public,
    may_connect,
    may_name_bucket,
)
from tests.support.refusal import refusal

# fmt: off
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - refused, not bound
    "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "168.63.129.16", "169.254.169.254",
    "172.16.0.1", "192.0.0.8", "192.0.2.1", "192.168.1.1", "192.88.99.1", "198.18.0.1", "224.0.0.1",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fec0::5", "ff02::1",
]
# fmt: on

HOSTILE = [
    *("file:///etc/passwd", "ftp://pictures.example/a.png", "data:image/png;base64,AAAA", "/etc/passwd"),
    *("//pictures.example/a.png", "", "http:///a.png", "http:a.png", "http://user:secret@pictures.example/"),
    *("http://127.0.0.1:8099\\@pictures.example/", "http:// pictures.example/", "http://pictures.example /a"),
    *("http://pictures.example:80 /a", "http://pictures .example/a", "http:/ /pictures.example/a"),
    *("http://pictures.example/a\u00a0b", "http://pictures.example/\r\nHost: other"),
    *("http://pictures.example\t/", "http://\ud800.example/", "http://pictures..example/"),
    *("http://pic\u200dtures.example/", "http://pictures%00.example/"),
    *("http://" + ".".join(["a" * 60] * 5) + "/", "http://pictures.example/" + "a" * 9000),
    *("http://pictures.example:22/", "http://pictures.example:6379/", "http://pictures.example:99999/"),
    *("http://pictures.example:x/", "http://[::1", "http://[v1.x]/", "http://[fe80::1%25eth0]/"),
    *("http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://printer.local/"),
    *("http://metadata.google.internal/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/"),
    *("http://0177.0.0.1/", "http://127.1/", "http://256.1.1.1/", "http://\uff11\uff12\uff17.0.0.1/"),
    *("http://127\u30020\u30020\u30021/", "http://\u24dbocalhost/"),
    *(f"http://[{ip}]/" if ":" in ip else f"http://{ip}/" for ip in NOT_PUBLIC),
]


@pytest.mark.parametrize("url", HOSTILE, ids=ascii)
def test_a_url_that_condemns_itself_is_refused_before_anything_is_queued(url: str) -> None:
    assert refusal(check_url, url, AddressRules(), "image") == ("invalid_image_url", "image")


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_no_private_address_passes_for_public(ip: str) -> None:
    assert not is_public(ip_address(ip))


@pytest.mark.parametrize("ip", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001::5"])
def test_public_addresses_are_not_locked_out(ip: str) -> None:
    assert is_public(ip_address(ip))


PERSIAN = "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://pictures.example", ("http", "pictures.example", 80, "/")),
        ("HTTPS://Pictures.Example./a.png?x=1#part", ("https", "pictures.example", 443, "/a.png?x=1")),
        ("https://pictures.example:8443?x=1", ("https", "pictures.example", 8443, "/?x=1")),
        ("https://bücher.example/ä.png", ("https", "xn--bcher-kva.example", 443, "/%C3%A4.png")),
        ("https://Faß.example/", ("https", "xn--fa-hia.example", 443, "/")),
        ("https://σοφός.example/", ("https", "xn--0xagbn4a.example", 443, "/")),
        (
            f"https://{PERSIAN}.example/{PERSIAN}",
            ("https", "xn--mgba3gch31f060k.example", 443, f"/{quote(PERSIAN)}"),
        ),
        ("https://☕.my_shop.example/", ("https", "xn--53h.my_shop.example", 443, "/")),
        ("http://1.1.1.1:8080/a%20b", ("http", "1.1.1.1", 8080, "/a%20b")),
        (" http://1.1.1.1/a b.png?c=d e#f g ", ("http", "1.1.1.1", 80, "/a%20b.png?c=d%20e")),
        ("http://[2606:4700::1]/", ("http", "2606:4700::1", 80, "/")),
    ],
)
def test_a_url_leads_where_a_browser_goes(url: str, expected: tuple[str, str, int, str]) -> None:
    assert tuple(check_url(url, AddressRules(), None)) == expected


def test_the_host_header_names_what_the_url_named() -> None:
    urls = ("http://a.example:80/", "http://a.example:443/", "https://[2606:4700::1]:8443/")
    authorities = [check_url(url, AddressRules(), None).authority for url in urls]
    assert authorities == ["a.example", "a.example:443", "[2606:4700::1]:8443"]


@pytest.mark.parametrize(
    ("host", "allow"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("10.1.2.3", ("192.168.0.0/16", "10.0.0.0/8")),
        ("[::1]", ("::1",)),
        ("store.internal", ("Store.internal",)),
        ("localhost", ("localhost",)),
        ("localhost", ("127.0.0.0/8",)),
    ],
)
def test_what_the_operator_allows_is_reachable_on_any_port(host: str, allow: tuple[str, ...]) -> None:
    assert check_url(f"http://{host}:9000/", AddressRules(allow), None).port == 9000


@pytest.mark.parametrize(
    "ip", ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fe80::1",
           "fd00:ec2::254", "fd20:ce::254", "fd00:42::42", "100.100.100.200", "192.0.0.192", "168.63.129.16"],
)  # fmt: skip
def test_no_setting_opens_cloud_metadata_and_no_refusal_says_one_would(ip: str) -> None:
    allow = ("0.0.0.0/0", "::/0", ip, "metadata.example")
    assert not may_connect(ip_address(ip), "metadata.example", AddressRules(allow))
    with pytest.raises(CallerError, match=r"not public\.$"):
        check_url(f"http://[{ip}]/" if ":" in ip else f"http://{ip}/", AddressRules(allow), None)


IPV6 = "[2606:4700::1]"
DENY = ("evil.example", "203.0.113.7", "1.1.1.0/24", "2606:4700::/32")


@pytest.mark.parametrize(
    "url",
    [f"http://{host}/" for host in ("evil.example", "EVIL.example.", "www.evil.example", "1.1.1.9", IPV6)],
)
@pytest.mark.parametrize("allow", [(), ("evil.example", "www.evil.example", "0.0.0.0/0", "::/0")])
def test_what_the_operator_denies_is_not_contacted_even_if_allowed(url: str, allow: tuple[str, ...]) -> None:
    with pytest.raises(CallerError, match="does not contact"):
        check_url(url, AddressRules(allow, DENY), "image")


@pytest.mark.parametrize(
    ("ip", "host", "rules", "reachable"),
    [
        ("10.0.0.1", "store.internal", AddressRules(("store.internal",)), True),
        ("10.0.0.1", "evil.example", AddressRules(("store.internal", "10.0.0.2")), False),
        ("1.1.1.9", "innocent.example", AddressRules(deny=DENY), False),
        ("1.1.2.9", "notevil.example", AddressRules(deny=DENY), True),
        ("::ffff:10.0.0.1", "a.example", AddressRules(("::/0",), ("10.0.0.0/8",)), False),
    ],
)
def test_a_rule_holds_for_its_hosts_and_networks_by_every_name_and_no_others(
    ip: str, host: str, rules: AddressRules, reachable: bool
) -> None:
    assert may_connect(ip_address(ip), host, rules) == reachable


RULES = BucketRules(("s3://photos/shared/", "acme=gs://acme/in", "s3://photos/own/{caller}", "az://all"))


@pytest.mark.parametrize(
    ("caller", "url", "target"),
    [
        ("acme", "s3://photos/shared/a.jpg", ("s3", "photos", "shared/a.jpg")),
        ("acme", "S3://photos/shared/b c/é.jpg", ("s3", "photos", "shared/b c/é.jpg")),
        ("acme", "gs://acme/in/a.jpg", ("gs", "acme", "in/a.jpg")),
        ("acme", "s3://photos/own/acme/a.jpg", ("s3", "photos", "own/acme/a.jpg")),
        ("other", "az://all/a.jpg", ("az", "all", "a.jpg")),
    ],
)
def test_callers_may_name_what_the_operator_opened(
    caller: str, url: str, target: tuple[str, str, str]
) -> None:
    assert RULES.check(url, caller, "image") == BucketObject(*target)


@pytest.mark.parametrize(
    "url",
    [
        *("s3://photos/shared-by-others/a.jpg", "s3://photos/shared/../secret/a.jpg"),
        *("s3://photos/shared//a.jpg", "s3://photos/shared/./a.jpg", "s3://photos/shared/"),
        *("s3://photos/shared/a\n.jpg", "s3://photos/own/acme/a.jpg", "s3://photos/own/{caller}/a.jpg"),
        *("s3://photos", "s3://other/shared/a.jpg", "s3://photos@evil/shared/a.jpg"),
        *("gs://photos/shared/a.jpg", "gs://acme/in/a.jpg"),
    ],
)
def test_another_callers_prefix_another_bucket_and_a_path_around_them_are_refused(url: str) -> None:
    assert refusal(RULES.check, url, "other", "input.image") == ("invalid_image_url", "input.image")


def test_a_refusal_names_what_the_caller_may_name_and_no_other_callers() -> None:
    with pytest.raises(CallerError) as refused:
        RULES.check("s3://elsewhere/a.jpg", "other", None)
    assert "s3://photos/shared/, s3://photos/own/other/, az://all/" in refused.value.message
    assert "acme" not in refused.value.message
    with pytest.raises(CallerError, match="SIGHTLINE_FETCH__BUCKETS"):
        BucketRules().check("s3://photos/a.jpg", "other", None)


@pytest.mark.parametrize(
    "entry", ["s3://b?x=1", "http://bucket/a", "s3://", "a b=s3://bucket", "s3://b/../c"]
)
def test_a_bucket_that_is_written_wrong_stops_the_start(entry: str) -> None:
    assert not may_name_bucket(entry)
    with pytest.raises(ValueError, match="is not like s3://bucket/prefix"):
        FetchSettings(buckets=(entry,))
