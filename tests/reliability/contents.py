"""Content of answers that is cut, endless, wrongly chunked or wrongly coded."""

import gzip
import zlib

from servers.fault import End, Script, Step

from cruds_core import BrokenResponseError, DecompressionError, ResponseTooLargeError, TruncatedResponseError

from .case import OK, SECRET, Case, Data, json

TITLE = "Content"

_CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
_DATA = ("read", "create")
_LIMITED = {"max_response_size": 1 << 20}
_TEXT = gzip.compress(b'{"a": 1}' * 100)
_BROTLI = b"\x8b\x00\x80{}\x03"
_PIECE = b"x" * 60_000


def _coded(coding: bytes, content: bytes) -> Script:
    """Returns an answer with a Content-Encoding."""
    return json(content, b"Content-Encoding: %b\r\n" % coding)


def _bomb() -> bytes:
    """Returns 1 MB that is 1 GiB: one stream of gzip, whose blocks of 1 MiB are all the same."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return head + block * 1023


_BOMB = _bomb()
_ENDLESS: list[Step] = [_PIECE] * 20_000
_ENDLESS_CHUNKS: list[Step] = [b"%x\r\n%b\r\n" % (len(_PIECE), _PIECE)] * 20_000

CASES = [
    Case("cut in a chunk", TruncatedResponseError, [[_CHUNKED + b"5\r\nab", End.CLOSE]]),
    Case("cut between two chunks", TruncatedResponseError, [[_CHUNKED + b"2\r\nab\r\n", End.CLOSE]]),
    Case("a chunk whose size is no number", BrokenResponseError, [_CHUNKED + b"zz\r\nab\r\n0\r\n\r\n"]),
    *(
        Case(
            f'a chunk of size "{size}"',
            BrokenResponseError,
            [_CHUNKED + size.encode() + b"\r\n{}\r\n0\r\n\r\n"],
        )
        for size in ("-2", "+2", "0x2", "0_2", " 2")
    ),
    Case(
        "the size of a chunk ends with LF alone",
        BrokenResponseError,
        [_CHUNKED + b"2\n{}\r\n0\r\n\r\n"],
    ),
    Case("a space after the size of a chunk", Data({}), [_CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n"], _DATA),
    Case(
        "a size that says back the token",
        BrokenResponseError,
        [_CHUNKED + SECRET.encode() + b"\r\nab\r\n0\r\n\r\n"],
    ),
    Case("a chunk of 16 EiB", TruncatedResponseError, [[_CHUNKED + b"f" * 16 + b"\r\nab", End.CLOSE]]),
    Case(
        "a chunk that is longer than its size", BrokenResponseError, [_CHUNKED + b"1\r\naxyzzy\r\n0\r\n\r\n"]
    ),
    Case(
        "something else than CRLF after a chunk",
        BrokenResponseError,
        [_CHUNKED + b"2\r\n{}xy0\r\n\r\n"],
    ),
    Case("cut after the last chunk", TruncatedResponseError, [[_CHUNKED + b"2\r\n{}\r\n0\r\n", End.CLOSE]]),
    Case("cut in a trailer", TruncatedResponseError, [[_CHUNKED + b"2\r\n{}\r\n0\r\nX: y", End.CLOSE]]),
    Case("cut in the size of a chunk", TruncatedResponseError, [[_CHUNKED + b"2", End.CLOSE]]),
    Case(
        "a size of 70 000 digits", BrokenResponseError, [_CHUNKED + b"0" * 70_000 + b"2\r\n{}\r\n0\r\n\r\n"]
    ),
    Case("an extension of a chunk", Data({}), [_CHUNKED + b"2;a=b\r\n{}\r\n0\r\n\r\n"], _DATA),
    Case("a trailer", Data({}), [_CHUNKED + b"2\r\n{}\r\n0\r\nX: y\r\n\r\n"], _DATA),
    Case("endless trailers", BrokenResponseError, [[_CHUNKED + b"0\r\n", *[b"X: y\r\n" * 1000] * 20_000]]),
    Case("a trailer of 70 KB", BrokenResponseError, [_CHUNKED + b"0\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"]),
    Case(
        "endless content",
        ResponseTooLargeError,
        [[OK + b"\r\n", *_ENDLESS]],
        _DATA,
        options=_LIMITED,
        megabytes=4,
    ),
    Case(
        "endless chunks",
        ResponseTooLargeError,
        [[_CHUNKED, *_ENDLESS_CHUNKS]],
        _DATA,
        options=_LIMITED,
        megabytes=4,
    ),
    Case("more than Content-Length", Data({}), [json(b"{}") + b"HTTP/1.1 500 X\r\n\r\n"], _DATA, calls=3),
    Case(
        "no gzip under Content-Encoding: gzip",
        DecompressionError,
        [_coded(b"gzip", b"plain text")],
        keeps=True,
    ),
    Case("gzip that is cut", DecompressionError, [_coded(b"gzip", _TEXT[:-9])], keeps=True),
    Case(
        "gzip that is cut",
        DecompressionError,
        [_coded(b"gzip", gzip.compress(b"{}") + _TEXT[:-9])],
        variant="in its second member",
        keeps=True,
    ),
    Case(
        "gzip with a wrong checksum", DecompressionError, [_coded(b"gzip", _TEXT[:-8] + bytes(8))], keeps=True
    ),
    Case(
        "gzip with a wrong checksum",
        DecompressionError,
        [_coded(b"gzip", gzip.compress(b"{}") + _TEXT[:-8] + bytes(8))],
        variant="in its second member",
        keeps=True,
    ),
    Case("gzip with more behind it", Data({}), [_coded(b"gzip", gzip.compress(b"{}") + b"more")], _DATA),
    Case(
        "gzip with more behind it",
        Data({}),
        [_coded(b"gzip", gzip.compress(b"{}") + b"\n")],
        _DATA,
        variant="a single byte",
    ),
    Case(
        "deflate that is cut",
        DecompressionError,
        [_coded(b"deflate", zlib.compress(b"x" * 900)[:-9])],
        keeps=True,
    ),
    Case("gzip in gzip", Data({}), [_coded(b"gzip, gzip", gzip.compress(gzip.compress(b"{}")))], _DATA),
    Case(
        "gzip in gzip that is cut",
        DecompressionError,
        [_coded(b"gzip, gzip", gzip.compress(gzip.compress(b"x" * 9000, 0), 0)[:-900])],
        keeps=True,
    ),
    Case("brotli", Data({}), [_coded(b"br", _BROTLI)], _DATA),
    Case("brotli that is cut", DecompressionError, [_coded(b"br", _BROTLI[:-1])], keeps=True),
    Case(
        "three codings",
        DecompressionError,
        [_coded(b"gzip, gzip, gzip", gzip.compress(gzip.compress(gzip.compress(b"{}"))))],
    ),
    Case("gzip and a coding that is not known", DecompressionError, [_coded(b"gzip, x-none", b"{}")]),
    Case(
        "codings that say back the token",
        DecompressionError,
        [_coded(b"gzip, " + SECRET.encode(), b"{}")],
    ),
    Case(
        "one coding that is not known", Data({}, "the content as it came"), [_coded(b"utf-8", b"{}")], _DATA
    ),
    Case("gzip that is not announced", Data(_TEXT, "the content as it came"), [json(_TEXT)], _DATA),
    Case(
        "a bomb: 1 GiB in 1 MB of gzip",
        ResponseTooLargeError,
        [_coded(b"gzip", _BOMB)],
        _DATA,
        options=_LIMITED,
        megabytes=8,
    ),
    Case(
        "a bomb in gzip",
        ResponseTooLargeError,
        [_coded(b"gzip, gzip", gzip.compress(_BOMB))],
        _DATA,
        keeps=True,
        options=_LIMITED,
        megabytes=8,
    ),
]
