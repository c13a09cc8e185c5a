"""What went wrong below us, said in our words: the errors of urllib3 as ours."""

from __future__ import annotations

import http.client
import re
import ssl
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from urllib3 import exceptions as urllib3_errors

from . import exceptions
from .status import phrase
from .url import without_query

if TYPE_CHECKING:
    from urllib3 import Timeout

    from .request import Request


# What is under way stands in the frames of these.
_OURS = [
    f"{__package__}.{module}" for module in ("connection", "content", "deadline", "final", "head", "pool")
]
_CARRIERS = ("urllib3", "http", "ssl", "socket", *_OURS)


def translate(
    error: Exception, request: Request, call: str, *, attempts: int, timeout: Timeout, status: int | None
) -> exceptions.RequestError:
    """The error to raise from what urllib3 raised.

    Args:
        error: What urllib3 raised. It should become the ``__cause__``.
        request: The request as it was before it was authenticated.
        call: What it is called in the message.
        attempts: How many times it was tried.
        timeout: What the connection waits for, in seconds.
        status: The status of the answer, if its head had arrived.
    """
    cls, fact = _classify(error, request, timeout, status=status)
    times = "" if attempts == 1 else f" ({attempts} attempts)"
    message = f"{call}: {fact}{times}"
    return cls(message, method=request.method, url=request.shown_url, attempts=attempts)


def _classify(
    error: Exception, request: Request, timeout: Timeout, *, status: int | None
) -> tuple[type[exceptions.RequestError], str]:
    match error:
        case urllib3_errors.ProxyError():
            reason = _reason(error.original_error)
            return exceptions.ProxyError, f"the proxy did not take the request: {reason}"
        case urllib3_errors.NameResolutionError():
            host = request.origin.host
            return exceptions.NameResolutionError, (
                f'"{host}" has no address; check the spelling of host, and the network'
            )
        case urllib3_errors.NewConnectionError():
            reason = _reason(error)
            return exceptions.ConnectError, f"no connection: {reason}; check host and port, and that it runs"
        case urllib3_errors.ConnectTimeoutError():
            waited = _waited(error, timeout.connect_timeout)
            return exceptions.RequestTimeoutError, f"no connection within {waited}; see timeout="
        case urllib3_errors.TimeoutError():
            what = f"the {status} answer broke off" if status else "no answer"
            waited = _waited(error, timeout.read_timeout)
            return exceptions.RequestTimeoutError, f"{what}: nothing came for {waited}; see timeout="
        case urllib3_errors.SSLError() if status and _is_cut(error):
            what = f"the content of the {status} may be cut: TLS ended without saying so"
            return exceptions.TruncatedResponseError, what
        case urllib3_errors.SSLError():
            return exceptions.TLSError, _tls_fact(error)
        case urllib3_errors.DecodeError():
            return (
                exceptions.DecompressionError,
                f"the content of the {status} does not fit its Content-Encoding",
            )
        case urllib3_errors.InvalidHeader():
            return exceptions.BrokenResponseError, "the headers of the answer contradict each other"
        case urllib3_errors.ProtocolError():
            return _protocol_failure(error, status=status)
        case _:
            return exceptions.RequestError, f"urllib3 raised {type(error).__name__}"


def _protocol_failure(error: Exception, *, status: int | None) -> tuple[type[exceptions.RequestError], str]:
    causes = (error.__cause__, *error.args)
    if status:
        # The second for a fork of urllib3, which raises it as it is.
        incomplete = (http.client.IncompleteRead, urllib3_errors.IncompleteRead)
        if any(isinstance(cause, incomplete) for cause in (error, *causes)):
            return (
                exceptions.TruncatedResponseError,
                f"the content of the {status} ended before its announced length",
            )
        return exceptions.BrokenResponseError, f"the content of the {status} broke off: {_reason(error)}"
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return exceptions.RequestTimeoutError, "the server took no more of the request in time; see timeout="
    for cause in causes:
        if isinstance(cause, http.client.RemoteDisconnected):
            break
        if isinstance(cause, (http.client.BadStatusLine, http.client.UnknownProtocol)):
            return (
                exceptions.BrokenResponseError,
                "what came back is not HTTP/1; check scheme and port of host",
            )
        if isinstance(cause, http.client.HTTPException):
            return exceptions.BrokenResponseError, f"the head of the answer cannot be read: {cause}"
    return exceptions.ConnectionLostError, f"the connection ended before an answer: {_reason(error)}"


def _waited(error: Exception, limit: object) -> str:
    """How long was waited, as urllib3 says it in its message: a TLS handshake counts as connecting."""
    said = re.search(r"timeout=([0-9.e-]+)", str(error))
    return f"{said[1] if said else limit} s"


def _tls_fact(error: Exception) -> str:
    for cause in (error.__cause__, *error.args):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"the certificate of the server is not trusted: {cause.verify_message}; "
                "for a CA of your own pass the path of its PEM file as verify_ssl="
            )
        if isinstance(cause, (str, ValueError)):  # assert_fingerprint and assert_hostname of urllib3
            return f"the certificate of the server is not trusted: {cause}"
    reason = _reason(error)
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "the server does not speak TLS at this port; if it speaks http, write http:// before host"
    return f"no secure connection: {reason}"


def is_final(error: Exception) -> bool:
    """Whether another attempt would end the same way, or may not be made."""
    if isinstance(error, urllib3_errors.SSLError):  # a certificate, a version, a cipher: unless it just ended
        return not _is_cut(error)
    if isinstance(error, urllib3_errors.ProxyError):  # http.client has no other way to say a 407
        return "failed: 4" in str(error.original_error)
    passing = (
        urllib3_errors.ConnectTimeoutError,
        urllib3_errors.ReadTimeoutError,
        urllib3_errors.ProtocolError,
    )
    return not isinstance(error, passing)


def _is_cut(error: BaseException) -> bool:
    """Whether TLS just ended."""
    ended = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    return any(isinstance(cause, ended) for cause in (error.__cause__, *error.args))


def _reason(error: BaseException) -> str:
    """What the operating system, or the peer, said: never a text of urllib3, which may quote a URL."""
    for cause in (error.__cause__, *error.args, error):
        if isinstance(cause, ssl.SSLError):
            return cause.reason or "TLS failed"
        if isinstance(cause, OSError):
            return cause.strerror or str(cause) or type(cause).__name__
    return type(error).__name__


def _forget_content(error: Any) -> None:
    """Clear what an error quotes of an answer, in which a server may say back what it was sent."""
    match error:
        case http.client.IncompleteRead() if isinstance(error.partial, bytes):
            error.partial, error.args = b"", (b"",)
        case http.client.RemoteDisconnected():  # a BadStatusLine with a text of its own
            pass
        case http.client.BadStatusLine():
            vars(error)["line"], error.args = "", ("",)
        case http.client.UnknownProtocol():
            vars(error)["version"], error.args = "", ("",)
        case OSError() if found := re.match(r"Tunnel connection failed: (\d+)", str(error)):
            error.args = (f"{found[0]} {phrase(int(found[1]))}",)
        case ValueError() if str(error).startswith("invalid literal"):  # http.client, in a caller's own pool
            error.args = ("invalid literal for the size of a chunk",)
        case _:
            pass


def forget_locals(error: BaseException | None) -> None:
    """Clear the frames that hold what was sent, or came, and the same in the errors themselves."""
    seen: set[int] = set()  # urllib3 can raise an error again in the handler of ours, which makes a circle
    chain = [error]
    while chain:
        error = chain.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        chain += [error.__cause__, error.__context__]
        for one in (error, *error.args):
            _forget_content(one)
        if isinstance(error, urllib3_errors.RequestError) and error.url is not None:
            error.url = without_query(error.url)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            name = frame.f_globals.get("__name__", "")
            if name in _CARRIERS or name.partition(".")[0] in _CARRIERS:
                with suppress(RuntimeError):  # it is a generator's, and not at its end
                    frame.clear()
