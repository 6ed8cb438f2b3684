"""Bodies that no client should send, for every door that takes JSON: the doors are read from /openapi.json."""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ID = "0" * 32


@dataclass(frozen=True)
class Door:
    method: str
    path: str


@dataclass(frozen=True)
class Sent:
    """`large` bodies go to one door only: they cost, and reading them is the same everywhere."""

    name: str
    body: bytes = field(repr=False)
    kind: str = "application/json"
    large: bool = False


def doors(description: Mapping[str, Any], model: str) -> list[Door]:
    """Every operation with an example of JSON, asked of `model`."""
    found = []
    for path, operations in description["paths"].items():
        named = path.replace("{id}", model if path.startswith("/models/") else ID)
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "example" in content.get("application/json", {}):
                found.append(Door(method.upper(), named))
    return found


def nested(opening: bytes, depth: int, closing: bytes) -> bytes:
    return opening * depth + b"0" + closing * depth


HELLO = '{"inputs": "hello", "prompt": "hello", "messages": [{"role": "user", "content": "hello"}]}'
RAW: dict[str, bytes] = {
    "nothing": b"", "a blank": b" ", "a zero byte": b"\0", "an open object": b"{", "an open list": b"[",
    "an open string": b'"', "half a word": b"nul", "two words": b"nulltrue", "an object": b"{}", "a list": b"[]",
    "null": b"null", "true": b"true", "a number": b"0", "a sign": b"-", "a plus": b"+1", "octal": b"0777",
    "hexadecimal": b"0xff", "a point": b".5", "not a number": b"NaN", "infinity": b"Infinity",
    "minus infinity": b"-Infinity", "a large exponent": b"1e999", "a large number": b'{"seed": 1e400}',
    "NaN inside": b'{"temperature": NaN}', "infinity inside": b'{"temperature": -Infinity}',
    "a list of lists": b"[[]]", "a comma": b",", "a comma at the end": b'{"a": 1,}', "no comma": b'{"a": 1 "b": 2}',
    "no colon": b'{"a" 1}', "no key": b"{1: 2}", "single quotes": b"{'a': 1}", "a comment": b'{"a": 1 /* */}',
    "two objects": b"{}{}", "lines": b"{}\n{}\n", "a form": b"a=b&c=d", "YAML": b"a: b", "XML": b"<a/>",
    "a high surrogate": b'{"model": "\\ud800"}', "a low surrogate": b'{"model": "\\udfff"}',
    "surrogates turned round": b'{"model": "\\udc00\\ud800"}', "a surrogate as a key": b'{"\\ud800": 1}',
    "half an escape": b'{"model": "\\u12"}', "no escape": b'{"model": "\\x41"}', "a tab in a string": b'{"a": "\t"}',
    "bytes of a surrogate": b'{"model": "\xed\xa0\x80"}', "no UTF-8": b'{"model": "\xff"}',
    "overlong UTF-8": b'{"model": "\xc0\x80"}', "cut UTF-8": b'{"model": "\xe2\x82"}',
    "UTF-16": HELLO.encode("utf-16"), "UTF-16 without mark": HELLO.encode("utf-16-be"), "UTF-32": HELLO.encode("utf-32"),
    "UTF-7": '{"model": "\u00e4"}'.encode("utf-7"), "a mark": b"\xef\xbb\xbf{}", "two marks": b"\xef\xbb\xbf" * 2 + b"{}",
    "gzip": gzip.compress(HELLO.encode()), "a picture": b"\x89PNG\r\n\x1a\n" + bytes(30), "pickle": b"\x80\x04N.",
    "prototype": b'{"__proto__": {"admin": true}, "constructor": {}, "__class__": 1}',
    "a reference": b'{"$ref": "file:///etc/passwd"}', "keys twice": b'{"model": "a", "model": 5, "model": null}',
    "an empty key": b'{"": 1}', "a zero byte inside": b'{"model": "a\\u0000b"}', "turned text": '{"model": "\u202e"}'.encode(),
    "64 lists": nested(b"[", 64, b"]"), "65 lists": nested(b"[", 65, b"]"), "1,000 lists": nested(b"[", 1000, b"]"),
    "300 objects": nested(b'{"a":', 300, b"}"), "lists in messages": b'{"messages":' + nested(b"[", 200, b"]") + b"}",
    "a long number": b'{"seed": ' + b"9" * 5000 + b"}", "a long fraction": b'{"seed": 0.' + b"9" * 5000 + b"}",
    "a long key": b'{"' + b"k" * 60_000 + b'": 1}', "a long model": b'{"model": "' + b"m" * 60_000 + b'"}',
}  # fmt: skip
LARGE: dict[str, bytes] = {
    "100,000 lists": nested(b"[", 100_000, b"]"),
    "100,000 open lists": b"[" * 100_000,
    "200,000 numbers": b"[" + b"0," * 200_000 + b"0]",
    "100,000 commas": b"[" + b"," * 100_000 + b"]",
    "a million empty strings": b"[" + b'"",' * 1_000_000 + b'""]',
    "a million objects": b"[" + b"{}," * 1_000_000 + b"{}]",
    "90,000 keys": b"{" + b",".join(b'"%d":0' % n for n in range(90_000)) + b"}",
    "19,000 keys": b"{" + b",".join(b'"%d":0' % n for n in range(19_000)) + b"}",
    "a key 19,000 times": b"{" + b",".join([b'"model":0'] * 19_000) + b"}",
    "19,000 wrong stops": b'{"model":"a","prompt":"a","inputs":"a","stop":[' + b"0," * 19_000 + b"0]}",
    "6,000 messages": b'{"messages":[' + b",".join([b'{"role":"user","content":"a"}'] * 6000) + b"]}",
    "30,000 messages": b'{"messages":[' + b",".join([b'{"role":"user","content":"a"}'] * 30_000) + b"]}",
    "19,000 wrong messages": b'{"messages":[' + b"0," * 19_000 + b"0]}",
    "20,000 pictures": b'{"input":{"prompt":"a","images":[' + b'"http://a.example/",' * 20_000 + b'""]}}',
    "a million digits": b'{"seed": ' + b"9" * 1_000_000 + b"}",
    "a string of 20 MB": b'{"model": "' + b"m" * 20_000_000 + b'"}',
    "escapes of 20 MB": b'{"model": "' + b"\\u0041" * 3_300_000 + b'"}',
    "quotes of 5 MB": b'{"model": "' + b'\\"' * 2_500_000,
    "blanks of 30 MB": b" " * 30_000_000,
    "gzip of zeros": gzip.compress(bytes(50_000_000)),
}
KINDS = (
    "", "text/plain", "application/xml", "application/json; charset=utf-16", "application/x-www-form-urlencoded",
    "multipart/form-data", "multipart/form-data; boundary=", "image/png", "image/../../x", "application/octet-stream",
    "application/json, application/json", "a" * 5000, "application/json;" + ";" * 500,
)  # fmt: skip


def sent() -> Iterator[Sent]:
    yield from (Sent(name, body) for name, body in RAW.items())
    yield from (Sent(f"a good body as {kind[:40]!r}", HELLO.encode(), kind) for kind in KINDS)
    yield from (Sent(name, body, large=True) for name, body in LARGE.items())
