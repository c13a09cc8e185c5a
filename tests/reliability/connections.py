"""Connections that are refused, cut, silent or slow, and TLS that cannot be trusted."""

from servers.fault import End

from cruds_core import (
    BrokenResponseError,
    ConnectError,
    ConnectionLostError,
    NameResolutionError,
    RequestTimeoutError,
    TLSError,
    TruncatedResponseError,
)

from .case import OK, SECRET, Case, Data, drip, json

TITLE = "Connections"

_ECHO = b"GET /items HTTP/1.1\r\nAuthorization: Bearer %b\r\n\r\n" % SECRET.encode()
_IMPATIENT = {"timeout": 0.1}
_LIMITED = {"timeout": 5, "total_timeout": 0.6}

CASES = [
    Case("refused", ConnectError, place="refused", says="Connection refused"),
    Case("a host without an address", NameResolutionError, place="unresolved", says="has no address"),
    Case("nobody accepts the connection", RequestTimeoutError, place="unanswered", options=_IMPATIENT),
    Case("closed before the head", ConnectionLostError, [End.CLOSE]),
    Case("reset before the head", ConnectionLostError, [End.RESET]),
    Case("closed in the status line", BrokenResponseError, [[b"HTTP/1.1 20", End.CLOSE]]),
    Case("closed in the head", ConnectionLostError, [[OK + b"Content-Type: appl", End.CLOSE]]),
    Case("reset in the head", ConnectionLostError, [[OK + b"Content-Type: appl", 0.02, End.RESET]]),
    Case("closed after the head", TruncatedResponseError, [[OK + b"Content-Length: 2\r\n\r\n", End.CLOSE]]),
    Case("reset after the head", BrokenResponseError, [[OK + b"Content-Length: 2\r\n\r\n", 0.02, End.RESET]]),
    Case(
        "reset in the content", BrokenResponseError, [[OK + b"Content-Length: 9\r\n\r\nabc", 0.02, End.RESET]]
    ),
    Case(
        "closed in the content", TruncatedResponseError, [[OK + b"Content-Length: 9\r\n\r\nabc", End.CLOSE]]
    ),
    Case(
        "a kept connection is closed while it is idle",
        Data({}),
        [[json(b"{}"), End.CLOSE]],
        ("read", "create", "update", "delete"),
        calls=3,
    ),
    Case("silence", RequestTimeoutError, [[9.0]], options=_IMPATIENT, says="0.1 s; see timeout="),
    Case(
        "silence in the content",
        RequestTimeoutError,
        [[OK + b"Content-Length: 9\r\n\r\nabc", 9.0]],
        options={"timeout": 0.5},  # the head comes first
        says="the 200 answer broke off",
    ),
    Case(
        "a dripping head, with total_timeout",
        RequestTimeoutError,
        [drip(OK)],
        options=_LIMITED,
        says="0.6 s; see total_timeout=",
    ),
    Case(
        "dripping content, with total_timeout",
        RequestTimeoutError,
        [[OK + b"Content-Length: 9999\r\n\r\n", *drip(b"x")]],
        options=_LIMITED,
        says="the 200 answer was not whole within 0.6 s",
    ),
    Case(
        "dripping chunks, with total_timeout",
        RequestTimeoutError,
        [[OK + b"Transfer-Encoding: chunked\r\n\r\n", *drip(b"1\r\nx\r\n")]],
        options=_LIMITED,
    ),
    Case(
        "another protocol", BrokenResponseError, [[b"SSH-2.0-OpenSSH_9.2\r\n", End.CLOSE]], says="not HTTP/1"
    ),
    Case(
        "a port that says back what it is sent", BrokenResponseError, [[_ECHO, End.CLOSE]], says="not HTTP/1"
    ),
    Case("an expired certificate", TLSError, [json(b"{}")], place="expired", says="has expired"),
    Case("a certificate of another name", TLSError, [json(b"{}")], place="wrong_name", says="not valid for"),
    Case("a certificate of an unknown authority", TLSError, [json(b"{}")], place="unknown"),
    Case(
        "a port that speaks http where TLS is asked for", TLSError, place="plain", says="does not speak TLS"
    ),
    Case("a handshake that does not go on", RequestTimeoutError, place="mute", options=_IMPATIENT),
    Case("a handshake that drips", RequestTimeoutError, place="dripping", options=_IMPATIENT),
    Case(
        "closed in the content, with TLS",
        TruncatedResponseError,
        [[OK + b"Content-Length: 9\r\n\r\nabc", End.CLOSE]],
        place="good",
    ),
    Case(
        "content without a length, cut before the end of TLS",
        TruncatedResponseError,
        [[OK + b"\r\n{}", 0.02, End.CLOSE]],
        place="good",
        says="TLS ended without saying so",
    ),
    Case(
        "content without a length, up to the end of TLS",
        Data({}),
        [[OK + b"\r\n{}", End.GOODBYE]],
        ("read", "create"),
        place="good",
    ),
]
