"""Heads of answers that are wrong, huge or odd."""

from servers.fault import End, Step

from cruds_core import BrokenResponseError, ConnectionLostError, ResponseTooLargeError, StatusError

from .case import OK, SECRET, Case, Data, json

TITLE = "Heads"

_SECRET = SECRET.encode()
_DATA = ("read", "create")
_ENDLESS: list[Step] = [b"X: " + b"y" * 60_000 + b"\r\n"] * 10_000
_WHOLE = b"Content-Length: 2\r\n\r\n{}"


def _framed(fields: bytes) -> list[bytes | End]:
    """Returns an answer with fields that say, or do not say, where its content ends."""
    return [OK + fields + b"\r\n\r\n{}", End.CLOSE]


CASES = [
    Case("status 99", BrokenResponseError, [b"HTTP/1.1 99 X\r\n\r\n"]),
    Case("status 1000", BrokenResponseError, [b"HTTP/1.1 1000 X\r\n\r\n"]),
    Case("status -200", BrokenResponseError, [b"HTTP/1.1 -200 X\r\n\r\n"]),
    Case("a status of letters", BrokenResponseError, [b"HTTP/1.1 OK 200\r\n\r\n"]),
    Case("status 600", StatusError, [json(b"{}", status=b"600 X")]),
    Case("status 999", StatusError, [json(b"{}", status=b"999 X")]),
    Case("no reason phrase", Data({}), [json(b"{}", status=b"200")], _DATA),
    Case("a reason phrase with control characters", Data({}), [json(b"{}", status=b"200 \x1b[31m\0")], _DATA),
    Case("HTTP/2.0", BrokenResponseError, [b"HTTP/2.0 200 OK\r\n" + _WHOLE], says="not HTTP/1"),
    Case(
        "a version that says back the token",
        BrokenResponseError,
        [b"HTTP/2-%b 200 OK\r\n%b" % (_SECRET, _WHOLE)],
    ),
    Case(
        "a status line that says back the token",
        BrokenResponseError,
        [[b"Authorization: Bearer %b\r\n" % _SECRET, End.CLOSE]],
    ),
    Case("HTTP/1.9", Data({}), [b"HTTP/1.9 200 OK\r\n" + _WHOLE], _DATA),
    Case("HTTP/1.0, ended by the connection", Data({}), [[b"HTTP/1.0 200 OK\r\n\r\n{}", End.CLOSE]], _DATA),
    Case("an empty line before the status line", BrokenResponseError, [b"\r\n" + json(b"{}")]),
    Case("lines that end with LF alone", Data({}), [b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}"], _DATA),
    Case("an endless status line", BrokenResponseError, [[b"HTTP/1.1 200 ", *[b"y" * 60_000] * 10_000]]),
    Case("an endless header", BrokenResponseError, [[OK + b"X: ", *[b"y" * 60_000] * 10_000]]),
    Case("endless headers", BrokenResponseError, [[OK, *_ENDLESS]], megabytes=16),
    Case("101 headers", BrokenResponseError, [OK + b"X: y\r\n" * 101 + _WHOLE], says="more than 100 headers"),
    Case("a header of 60 KB", Data({}), [OK + b"X: " + b"y" * 60_000 + b"\r\n" + _WHOLE], _DATA),
    Case("a header without a colon", BrokenResponseError, [OK + b"nonsense\r\n" + _WHOLE], says="no header"),
    Case("a space before the colon", BrokenResponseError, [OK + b"X : y\r\n" + _WHOLE], says="no header"),
    Case(
        "a first header that is folded", BrokenResponseError, [OK + b" X: y\r\n" + _WHOLE], says="no header"
    ),
    Case("a header that is folded", Data({}), [OK + b"X: y\r\n z\r\n" + _WHOLE], _DATA),
    Case("NUL in a header of an answer", Data({}), [OK + b"X: a\0b\r\n" + _WHOLE], _DATA),
    Case(
        "a bare CR in a header of an answer", Data({}), [OK + b"X: a\rContent-Length: 9\r\n" + _WHOLE], _DATA
    ),
    Case("bytes that are no ASCII in a header", Data({}), [OK + b"X: \xff\xfe\r\n" + _WHOLE], _DATA),
    Case("100 before the answer", Data({}), [b"HTTP/1.1 100 Continue\r\n\r\n" + json(b"{}")], _DATA),
    Case(
        "103 with headers before the answer",
        Data({}),
        [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 9\r\n\r\n" + json(b"{}")],
        _DATA,
    ),
    Case("16 interim answers", BrokenResponseError, [b"HTTP/1.1 102 X\r\n\r\n" * 16 + json(b"{}")]),
    Case("endless interim answers", BrokenResponseError, [[b"HTTP/1.1 102 X\r\n\r\n" * 1000] * 10_000]),
    Case("endless 100", BrokenResponseError, [[b"HTTP/1.1 100 Continue\r\n\r\n" * 1000] * 10_000]),
    Case("100, and then the end", ConnectionLostError, [[b"HTTP/1.1 100 Continue\r\n\r\n", End.CLOSE]]),
    Case(
        "101, which nobody asked for", BrokenResponseError, [[b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n", 9.0]]
    ),
    Case("Content-Length: -5", BrokenResponseError, [_framed(b"Content-Length: -5")], says="not valid"),
    Case("Content-Length: +2", BrokenResponseError, [_framed(b"Content-Length: +2")]),
    Case("Content-Length: 0_2", BrokenResponseError, [_framed(b"Content-Length: 0_2")]),
    Case("Content-Length: 0x2", BrokenResponseError, [_framed(b"Content-Length: 0x2")]),
    Case("an empty Content-Length", BrokenResponseError, [_framed(b"Content-Length:")]),
    Case(
        "a Content-Length of 5000 digits", BrokenResponseError, [_framed(b"Content-Length: " + b"9" * 5000)]
    ),
    Case(
        "a Content-Length that says back the token",
        BrokenResponseError,
        [_framed(b"Content-Length: %b, 3" % _SECRET)],
    ),
    Case("Content-Length: 2, 2", Data({}), [OK + b"Content-Length: 2, 2\r\n\r\n{}"], _DATA),
    Case("two Content-Lengths that differ", BrokenResponseError, [OK + b"Content-Length: 3\r\n" + _WHOLE]),
    Case(
        "a Content-Length over max_response_size",
        ResponseTooLargeError,
        [OK + b"Content-Length: 999999999999\r\n\r\n{}"],
        _DATA,
    ),
    Case(
        "Content-Length beside chunks",
        Data({}),
        [OK + b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
        _DATA,
    ),
    Case(
        "Transfer-Encoding: gzip, chunked",
        BrokenResponseError,
        [_framed(b"Transfer-Encoding: gzip, chunked")],
    ),
    Case("Transfer-Encoding: identity", BrokenResponseError, [_framed(b"Transfer-Encoding: identity")]),
    Case(
        "Transfer-Encoding: chunked, twice",
        BrokenResponseError,
        [_framed(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")],
    ),
    *(
        Case(
            f"{what} Transfer-Encoding: chunked", Data({}), [OK + fields + b"\r\n2\r\n{}\r\n0\r\n\r\n"], _DATA
        )
        for what, fields in {
            "a space after": b"Transfer-Encoding: chunked \r\n",
            "a length beside, and a tab after": b"Content-Length: 9\r\nTransfer-Encoding: chunked\t\r\n",
            "a folded": b"Transfer-Encoding:\r\n chunked\r\n",
        }.items()
    ),
    Case("204 that announces content", Data(b""), [b"HTTP/1.1 204 X\r\nContent-Length: 9\r\n\r\n"], _DATA),
]
