"""JSON that is deep, huge, odd or none, and content types that lie."""

import math

from cruds_core import ClientError

from .case import Case, Data, json

TITLE = "JSON"

_DATA = ("read", "create")
_JSON = b"Content-Type: application/json\r\n"
_LEVELS = 100_000
_AS_BYTES = "the bytes, and a warning in the log"
_DEEP = b"[" * _LEVELS + b"]" * _LEVELS
_DEEP_OBJECTS = b'{"a":' * _LEVELS + b"1" + b"}" * _LEVELS
_LONG = b"1" * 5000


def _typed(content: bytes, content_type: bytes) -> bytes:
    """Returns an answer with a content type."""
    return json(content, b"Content-Type: %b\r\n" % content_type)


CASES = [
    Case("lists 100 000 levels deep", Data(_DEEP, _AS_BYTES), [json(_DEEP)], _DATA, megabytes=4),
    Case(
        "objects 100 000 levels deep",
        Data(_DEEP_OBJECTS, _AS_BYTES),
        [json(_DEEP_OBJECTS)],
        _DATA,
        megabytes=8,
    ),
    Case(
        "problem details 100 000 levels deep",
        ClientError,
        [json(_DEEP, b"Content-Type: application/problem+json\r\n", b"400 X")],
        megabytes=8,
    ),
    Case("an integer of 5000 digits", Data(_LONG, _AS_BYTES), [json(_LONG)], _DATA),
    Case("an integer of 4000 digits", Data(int("1" * 4000), "the int"), [json(b"1" * 4000)], _DATA),
    Case("1e999", Data(math.inf), [json(b"1e999")], _DATA),
    Case("a fraction of 100 000 digits", Data(1 / 9, "the float"), [json(b"0." + b"1" * 100_000)], _DATA),
    Case("NaN and -Infinity", Data([math.nan, -math.inf]), [json(b"[NaN, -Infinity]")], _DATA),
    Case("a byte-order mark", Data({}), [json(b"\xef\xbb\xbf{}")], _DATA),
    Case("UTF-16 with a byte-order mark", Data(["é"]), [json('["é"]'.encode("utf-16"))], _DATA),
    Case("UTF-16 without one", Data(["a"]), [json('["a"]'.encode("utf-16-le"))], _DATA),
    Case("UTF-32", Data(["a"]), [json('["a"]'.encode("utf-32"))], _DATA),
    Case("UTF-16 that is cut", Data(b'\xff\xfe"', _AS_BYTES), [json(b'\xff\xfe"')], _DATA),
    Case("bytes that are no UTF-8", Data(b'"\xff"', _AS_BYTES), [json(b'"\xff"')], _DATA),
    Case("a lone surrogate", Data("\ud800"), [json(b'"\\ud800"')], _DATA),
    Case("duplicate keys", Data({"a": 2}), [json(b'{"a": 1, "a": 2}')], _DATA),
    Case("two values", Data(b"{}{}", _AS_BYTES), [json(b"{}{}")], _DATA),
    Case("half a value", Data(b'{"a": ', _AS_BYTES), [json(b'{"a": ')], _DATA),
    Case("HTML that says it is JSON", Data(b"<html>", _AS_BYTES), [json(b"<html>")], _DATA),
    Case("JSON that says it is HTML", Data(b"{}", "the bytes"), [_typed(b"{}", b"text/html")], _DATA),
    Case(
        "JSON without a content type",
        Data({}),
        [_typed(b"{}", b"").replace(b"Content-Type: \r\n", b"")],
        _DATA,
    ),
    Case(
        "JSON that says it is Latin-1",
        Data(["é"]),
        [_typed('["é"]'.encode(), _JSON[14:-2] + b"; charset=latin-1")],
        _DATA,
    ),
    Case("a content type of 60 KB", Data(b"{}", "the bytes"), [_typed(b"{}", b"a" * 60_000)], _DATA),
    Case(
        "a content type of control characters", Data(b"{}", "the bytes"), [_typed(b"{}", b"\x01\x02")], _DATA
    ),
]
