"""What is fuzzed: each takes bytes, and raises where something else comes of them than may."""

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from urllib3 import HTTPHeaderDict

from cruds_auth_basic.challenge import parse_challenges
from cruds_auth_basic.session import Session
from cruds_auth_oauth2 import OAuthAuthorizationError
from cruds_auth_oauth2.authorization import read_callback
from cruds_auth_oauth2.endpoint import _members  # pyright: ignore[reportPrivateUsage]
from cruds_auth_oauth2.tokens import Token, UnusableAnswerError
from cruds_core import AuthError, Headers, Request, Response, StatusError
from cruds_core.download import _disposition, safe_name  # pyright: ignore[reportPrivateUsage]
from cruds_core.redirect import Refused, follow
from cruds_core.secret import SecretText
from cruds_core.status import status_error

CORPUS = Path(__file__).parent / "corpus"

URL = "https://api.example.com/v1/things?q=1"


def answer(status: int, content: bytes = b"", **headers: str) -> Response:
    """Returns an answer that has been read."""
    fields = HTTPHeaderDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(
        method="GET", url=URL, status=status, headers=fields, content=content, attempts=1, deserialize=True
    )


def request() -> Request:
    """Returns a request with content."""
    return Request("POST", URL, Headers({"Authorization": "Bearer t0ken-0123456789"}), b"{}")


def challenge(data: bytes) -> None:
    """The challenges of a WWW-Authenticate, and the answer to each that is for Digest."""
    text = data.decode("latin-1")
    for found in parse_challenges(text):
        assert found.scheme == found.scheme.lower()
        if Session.can_answer(found.parameters):
            session = Session.from_challenge(found.parameters)
            for _ in range(2):
                headers = Headers({"Authorization": session.authorization("ada", "pässword", request())})
                with suppress(ValueError):  # of a nonce that no header could have brought
                    headers.check()
                session.renew(found.parameters.get("nextnonce", "next"))  # as of Authentication-Info
    error = status_error(
        answer(401, WWW_Authenticate=text), request(), request(), "GET", (), left_origin=False
    )
    assert "t0ken-0123456789" not in str(error)


def callback(data: bytes) -> None:
    """The URL that a browser was sent back to."""
    url = SecretText(data.decode("utf-8", "surrogateescape"))
    with suppress(OAuthAuthorizationError):
        found = read_callback(url, issuer="https://issuer.test", requires_issuer=False)
        assert found.refusal or (found.code and found.state)


def token(data: bytes) -> None:
    """The answer of a token endpoint. Its first line is the type of the content."""
    kind, _, content = data.partition(b"\n")
    with suppress(UnusableAnswerError):
        members = _members(answer(200, content, Content_Type=kind.decode("latin-1")))
        read = Token.read(members, asked_at=time.time(), leeway=30, scope=None, held=None)
        again = Token.restore(read.record())
        assert (again.access_token, again.refresh_token) == (read.access_token, read.refresh_token)
        assert read.access_token.isascii()
        assert read.access_token not in repr(read) or len(read.access_token) < 8


def refusal(data: bytes) -> None:
    """An answer that is an error. Its first line is the type of the content, the second its Retry-After."""
    kind, _, rest = data.partition(b"\n")
    delay, _, content = rest.partition(b"\n")
    headers = {"Content_Type": kind.decode("latin-1"), "Retry_After": delay.decode("latin-1")}
    response = answer(503, content, **headers)
    error = status_error(response, request(), request(), "GET", (), left_origin=False)
    assert isinstance(error, StatusError)
    assert len(str(error)) < 2000
    assert str(error).isprintable()
    assert isinstance(error.data, object)
    assert error.retry_after is None or error.retry_after >= 0


def filename(data: bytes) -> None:
    """A Content-Disposition, and the name of the file."""
    found = safe_name(_disposition(data.decode("latin-1")) or data.decode("utf-8", "surrogateescape"))
    assert not {"/", "\\", "\0", "\n"} & set(found)
    assert found not in (".", "..")
    assert len(found.encode()) < 256


def location(data: bytes) -> None:
    """The Location of a redirect."""
    with suppress(Refused, AuthError):
        target = follow(Request("GET", URL, request().headers), 302, data.decode("latin-1"))
        assert target.origin.scheme == "https"
        assert ("Authorization" in target.headers) is (target.origin == request().origin)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "callback": callback,
    "challenge": challenge,
    "filename": filename,
    "location": location,
    "refusal": refusal,
    "token": token,
}

with suppress(ImportError):  # where heads are read by a parser of our own
    _head: Any = importlib.import_module("cruds_core.head")

    def head(data: bytes) -> None:
        """The head of an answer. That it says what the standard library reads, core/test_head.py shows."""
        found = _head.parse(data)
        if found is not None:
            assert 200 <= found.status < 600
            assert found.size <= len(data)
            assert found.length is None or found.length >= 0

    TARGETS["head"] = head
