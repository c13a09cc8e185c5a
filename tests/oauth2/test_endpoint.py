"""The token endpoint: the way there, and what is made of any answer that is no token."""

import copy
import gzip
import inspect
import json
import pickle
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
import urllib3
from servers.fault import End, Fault, Script, reply
from servers.nginx import Nginx
from servers.proxy import Proxy
from servers.tls import Certificates

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuth2Error, OAuthAccessTokenError, OAuthRevocationError
from cruds_core import (
    AuthError,
    BrokenResponseError,
    ConnectError,
    ConnectionLostError,
    DecompressionError,
    ProxyError,
    RequestError,
    RequestTimeoutError,
    ResponseTooLargeError,
    TLSError,
    TruncatedResponseError,
)

SECRET = "secret-0123456789"
FORM = "application/x-www-form-urlencoded"
TOKEN = "t0ken-0123456789"
# It has expired when it comes, so that the next call asks for another.
GRANTED = reply(200, json.dumps({"access_token": TOKEN, "expires_in": 0}).encode())


def client(server: Fault, **options: Any) -> OAuth2:
    """Returns a client of the token endpoint of a server."""
    return OAuth2(f"{server.url}/token", "id", SECRET, "read", **options)


def refused(answer: Script, **options: Any) -> OAuthAccessTokenError:
    """Returns the error that a client raises when the endpoint answers so, which it is asked for once."""
    with Fault(answer) as server:
        oauth2 = client(server, **options)
        with pytest.raises(OAuthAccessTokenError) as caught:
            oauth2.access_token()
    assert type(caught.value) is OAuthAccessTokenError
    assert len(server.received) <= server.connections == 1
    assert oauth2.token is None
    assert str(caught.value).startswith(f"the client_credentials grant: POST {server.url}/token: ")
    assert_showable(caught.value)
    return caught.value


def assert_showable(error: OAuth2Error) -> None:
    """Asserts that a message is one line of text, and that the secret is not in it."""
    assert str(error).isprintable()
    assert len(str(error)) < 1500
    assert SECRET not in str(error) + repr(error) + repr(vars(error))


def said(error: OAuth2Error) -> str:
    """Returns what a message says after the URL."""
    return str(error).partition("/token: ")[2]


def content(answer: Any) -> bytes:
    """Returns a value as JSON."""
    return json.dumps(answer).encode()


# What is sent


def test_headers() -> None:
    """A request says that it wants JSON, that it sends a form, who sends it, and that nothing follows."""
    with Fault(GRANTED) as server:
        client(server).access_token()
    (request,) = server.received
    headers = request.headers
    assert (headers["Accept"], headers["Content-Type"]) == ("application/json", FORM)
    assert headers["Connection"] == "close"
    assert headers["User-Agent"].startswith("cruds-core/")
    assert headers["Host"] == server.url.removeprefix("http://")
    assert len({name.lower() for name in headers}) == len(headers.keys())


@pytest.mark.parametrize("own", [False, True])
def test_connections(own: bool) -> None:
    """Each request has one connection, and none is used again once we said that it ends (RFC 9112, 9.6)."""
    manager = urllib3.PoolManager() if own else None
    with Fault(GRANTED) as server:
        oauth2 = client(server, manager=manager)
        for _ in range(3):
            oauth2.access_token()
        assert [request.connection for request in server.received] == [1, 2, 3]
        assert server.connections == 3


def test_close() -> None:
    """A client that was closed can ask again."""
    with Fault(GRANTED) as server:
        oauth2 = client(server)
        oauth2.access_token()
        oauth2.close()
        oauth2.access_token()
    assert len(server.received) == 2


def test_revocation() -> None:
    """A revocation posts one token with its kind and the client's credentials (RFC 7009, section 2.1)."""
    granted = {"access_token": "a&b", "refresh_token": "r=1"}
    with Fault(reply(200, content(granted)), reply(200, b"")) as server:
        oauth2 = client(
            server, username="u", password="pw-0123456", revocation_url=f"{server.url}/revoke?x=1"
        )
        oauth2.access_token()
        oauth2.revoke()
    token, *revoked = server.received
    assert [request.target for request in revoked] == ["/revoke?x=1"] * 2
    assert [parse_qs(request.content.decode()) for request in revoked] == [
        {"token": ["r=1"], "token_type_hint": ["refresh_token"]},
        {"token": ["a&b"], "token_type_hint": ["access_token"]},
    ]
    for request in revoked:
        assert request.headers["Authorization"] == token.headers["Authorization"]
        assert (request.method, request.headers["Connection"]) == ("POST", "close")
    assert oauth2.token is None


@pytest.mark.parametrize("status", [400, 503, 302])
def test_revocation_that_fails(status: int) -> None:
    """A revocation that the server did not do is an error of its own, and the tokens are still here."""
    refusal = reply(status, content({"error": "unsupported_token_type", "error_description": TOKEN}))
    with Fault(reply(200, content({"access_token": TOKEN})), refusal) as server:
        oauth2 = client(server, revocation_url=f"{server.url}/revoke")
        oauth2.access_token()
        with pytest.raises(OAuthRevocationError) as caught:
            oauth2.revoke()
        assert oauth2.access_token() == TOKEN
    assert (caught.value.error, caught.value.status) == ("unsupported_token_type", status)
    assert str(caught.value).startswith(f"the revocation: POST {server.url}/revoke: {status} ")
    assert TOKEN not in str(caught.value) + repr(vars(caught.value))


# Errors that the server tells


def test_error() -> None:
    """An error response is told with its status, code, description and a remedy (RFC 6749, section 5.2)."""
    error = refused(reply(401, content({"error": "invalid_client", "error_description": "no such client"})))
    remedy = "check client_id, client_secret and token_endpoint_auth_method"
    assert said(error) == f"401 Unauthorized: invalid_client: no such client; {remedy}"
    assert (error.error, error.error_description, error.status) == ("invalid_client", "no such client", 401)
    assert isinstance(error, (OAuth2Error, AuthError))
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("invalid_request", ""),
        ("invalid_grant", ""),
        ("invalid_scope", "; check scope"),
        ("unauthorized_client", "; whoever registered the client must allow it this grant"),
        ("unsupported_grant_type", ""),
        ("server's own", ""),
    ],
)
def test_code(code: str, remedy: str) -> None:
    """Any code is told, and some with a remedy."""
    error = refused(reply(400, content({"error": code})))
    assert said(error) == f"400 Bad Request: {code}{remedy}"
    assert (error.error, error.error_description) == (code, None)


def test_error_of_a_server(authority: AuthorizationServer) -> None:
    """The error of a real server is told, and neither secret is in it."""
    oauth2 = OAuth2(authority.token_url, authority.client_id, SECRET, "read")
    with pytest.raises(OAuthAccessTokenError) as caught:
        oauth2.access_token()
    assert (caught.value.error, caught.value.status) == ("invalid_client", 401)
    assert_showable(caught.value)


@pytest.mark.parametrize("status", [200, 201, 400])
@pytest.mark.parametrize("error", ["invalid_scope", 5, True, {"message": "no"}, ["no"]])
def test_error_beside_a_token(status: int, error: Any) -> None:
    """What names an error is one, whatever its status is and whatever stands beside it."""
    caught = refused(reply(status, content({"error": error, "access_token": TOKEN})))
    assert caught.error == (error if isinstance(error, str) else None)
    assert caught.status == status
    assert TOKEN not in str(caught)
    assert str(error).strip("[]'") in said(caught).replace("true", "True").replace('"', "'")


@pytest.mark.parametrize("error", [None, "", False, 0])
def test_error_that_names_none(error: Any) -> None:
    """A member for an error that says that there is none does not cost the token."""
    with Fault(reply(200, content({"error": error, "access_token": TOKEN}))) as server:
        assert client(server).access_token() == TOKEN


@pytest.mark.parametrize(
    "description",
    [
        "AADSTS7000215: no.\r\nTrace ID: 1\r\nTimestamp: 2",
        'he said "no" and \\ left',
        "nicht möglich: 不可能 😀",
        "\0\x1b[2J\x7f\u2028\u202e",
        "\ud800",
        "x" * 100_000,
        "{} %s {0} ***",
    ],
    ids=["CRLF", "quotes", "non-ASCII", "control characters", "surrogate", "long", "formats"],
)
@pytest.mark.parametrize("status", [200, 400])
def test_description_of_any_characters(description: str, status: int) -> None:
    """A description may hold any characters: all of it is on the error, and one line in the message."""
    error = refused(reply(status, content({"error": "invalid_grant", "error_description": description})))
    assert error.error_description == description
    assert str(error).encode()
    words = [word for word in description.split() if word.isprintable()]
    assert all(word[:1000] in str(error) for word in words)


@pytest.mark.parametrize("description", [None, "", 5, ["x"], {"a": "b"}])
def test_description_that_is_no_text(description: Any) -> None:
    """A description that is no text is none."""
    error = refused(reply(400, content({"error": "invalid_grant", "error_description": description})))
    assert (error.error, error.error_description) == ("invalid_grant", None)
    assert said(error) == "400 Bad Request: invalid_grant"


@pytest.mark.parametrize("kind", [FORM, "text/plain", f"{FORM.upper()} ; charset=utf-8"])
@pytest.mark.parametrize("status", [200, 400])
def test_error_in_a_form(kind: str, status: int) -> None:
    """An error may come as a form, as old servers have it, with any status."""
    form = urlencode({"error": "bad_verification_code", "error_description": "é\r\n&=+"})
    error = refused(reply(status, form.encode(), Content_Type=kind))
    assert (error.error, error.error_description, error.status) == (
        *("bad_verification_code", "é\r\n&=+"),
        status,
    )


@pytest.mark.parametrize("kind", [FORM, "text/plain; charset=utf-8"])
def test_token_in_a_form(kind: str) -> None:
    """A token may come as a form, with its lifetime in a string."""
    form = urlencode({"access_token": TOKEN, "token_type": "bearer", "expires_in": "60", "scope": "read"})
    with Fault(reply(200, form.encode(), Content_Type=kind)) as server:
        oauth2 = client(server)
        assert oauth2.access_token() == TOKEN
    assert oauth2.token is not None
    assert oauth2.token.expires_at is not None


@pytest.mark.parametrize(
    ("answer", "kind", "shown"),
    [
        (b"", "", "500 Internal Server Error"),
        (b"", "application/json", "500 Internal Server Error"),
        (
            b"<html>\n<h1>Bad\tgateway</h1>",
            "text/html",
            "500 Internal Server Error: <html> <h1>Bad gateway</h1>",
        ),
        (b"upstream connect error", "text/plain", "500 Internal Server Error: upstream connect error"),
        (b'{"message": "no"}', "application/json", '500 Internal Server Error: {"message": "no"}'),
        (b'{"message": "no"}', "text/html", '500 Internal Server Error: {"message": "no"}'),
        (b'{"detail": "no"}', "application/problem+json", "500 Internal Server Error: no"),
        (b'"no"', "application/json", '500 Internal Server Error: "no"'),
        (b"\xff\xfe", "application/json", "500 Internal Server Error: \ufffd\ufffd"),
        (b"caf\xe9", "text/plain; charset=latin-1", "500 Internal Server Error: café"),
        (b"no", "text/plain; charset=nonsense", "500 Internal Server Error: no"),
        (b"\\q", "text/plain; charset=Unicode_Escape", "500 Internal Server Error: \\q"),
    ],
)
def test_error_without_a_code(answer: bytes, kind: str, shown: str) -> None:
    """An error that is no OAuth error is told by its status and the beginning of what came with it."""
    error = refused(reply(500, answer, Content_Type=kind))
    assert said(error).startswith(shown)
    assert (error.error, error.error_description, error.status) == (None, None, 500)


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 408, 413, 425, 429, 500, 502, 503, 504, 599, 600, 999]
)
def test_status(status: int) -> None:
    """A status that is an error is one, is told at once, and is never a reason to ask again."""
    error = refused(reply(status, b"{}", Retry_After="0"))
    assert error.status == status
    assert f": {status} " in str(error)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("soon", None), (None, None)])
def test_retry_after(header: str | None, seconds: float | None) -> None:
    """How long the server asks to wait is on the error."""
    headers = {} if header is None else {"Retry_After": header}
    assert refused(reply(429, content({"error": "slow_down"}), **headers)).retry_after == seconds


@pytest.mark.parametrize("status", [204, 205, 300, 304])
def test_status_without_content(status: int) -> None:
    """A status that has no content brings no token."""
    error = refused([f"HTTP/1.1 {status} Status\r\n\r\n".encode(), End.CLOSE])
    assert error.status == status


def test_long_error() -> None:
    """Of a long page the message has the beginning."""
    error = refused(reply(502, b"<html>" + b"Bad gateway " * 10_000, Content_Type="text/html"))
    assert said(error).startswith("502 Bad Gateway: <html>Bad gateway Bad gateway ")


@pytest.mark.parametrize("depth", [10, 400, 600, 800, 850, 900, 100_000])
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("kinds", [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_deep_answer(depth: int, status: int, kinds: tuple[bytes, bytes]) -> None:
    """An answer that nests deep, and is no token, is an error like others."""
    begin, end = kinds
    answer = b'{"message": ' + begin * depth + b"0" + end * depth + b"}"
    assert refused(reply(status, answer)).status == status


# Tokens in errors


@pytest.mark.parametrize("status", [200, 302, 500])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (content({"access_token": [TOKEN]}), "application/json"),
        (content({"error": {"refresh_token": TOKEN}, "message": "m"}), "application/json"),
        (content({"error": "e", "data": [{"id_token": TOKEN}]}), "application/json"),
        (content({"error": 1, "data": [{"accessToken": {"value": TOKEN}}]}), "application/json"),
        (content([{"access_token": TOKEN}]), "application/json"),
        (content({"detail": {"access_token": TOKEN}}), "application/problem+json"),
        (content({"title": [{"id_token": TOKEN}]}), "application/problem+json"),
        (content({"message": {"access_token": TOKEN}}), "application/json"),
        (content({"token_type": {"access_token": TOKEN}}), "application/json"),
        (content({"token_type": "mac", "access_token": TOKEN})[:-1], "application/json"),
        (content({"token_type": "mac", "accessToken": TOKEN})[:-1], "text/html"),
        (content({"error": "e", "access_token": TOKEN}).decode().encode("utf-16"), "application/json"),
        (f"access_token={TOKEN}&token_type=mac".encode(), FORM),
        (f"error&access_token={TOKEN}&token_type=mac".encode(), "text/plain"),
        (f"<access_token>{TOKEN}</access_token>".encode(), "application/xml"),
    ],
)
def test_token_in_an_error(status: int, answer: bytes, kind: str) -> None:
    """A token that comes with an error, in whatever form, is neither in the message nor on the error."""
    error = refused(reply(status, answer, Content_Type=kind))
    assert TOKEN not in str(error) + repr(error) + repr(vars(error))


@pytest.mark.parametrize("member", ["error", "error_description", "message"])
def test_secret_in_an_error(member: str) -> None:
    """What a server repeats of the client's secret is masked."""
    echoed = {"error": "e", "error_description": "d", member: f"{SECRET} is wrong"}
    error = refused(reply(400, content(echoed if member != "message" else {member: f"{SECRET} is wrong"})))
    assert "*** is wrong" in str(error)


def test_secret_as_the_type_of_a_token() -> None:
    """A type of token that says back the client's secret is masked."""
    error = refused(reply(200, content({"access_token": TOKEN, "token_type": SECRET})))
    assert 'its token_type is "***", not Bearer' in str(error)


def test_query_in_an_error() -> None:
    """The query of the endpoint's URL, which may be a key, is in no message."""
    for answer in (reply(200, b"{}"), reply(400, b"{}"), End.CLOSE):
        with Fault(answer) as server:
            oauth2 = OAuth2(f"{server.url}/token?key={TOKEN}", "id", SECRET, "read")
            with pytest.raises(OAuthAccessTokenError) as caught:
                oauth2.access_token()
        assert f"POST {server.url}/token: " in str(caught.value)
        assert TOKEN not in str(caught.value)


# Answers that are no token


@pytest.mark.parametrize(
    "answer",
    [b"", b"null", b"[]", b'"text"', b"5", b"true", b"{", b"<html>", b"\xff\xfe", b"{}{}", b"\xef\xbb\xbf"],
)
@pytest.mark.parametrize("kind", ["application/json", FORM])
def test_answer_that_is_no_object(answer: bytes, kind: str) -> None:
    """Of a 200 with something else it is said that it may be no JSON object: the URL may be wrong."""
    error = refused(reply(200, answer, Content_Type=kind))
    assert said(error).startswith("the answer cannot be used: ")
    assert "no JSON object" in said(error)
    assert (error.error, error.status) == (None, 200)


@pytest.mark.parametrize("answer", [b"{}", b'{"token": "x"}', b'{"Access_Token": "x"}'])
@pytest.mark.parametrize("status", [200, 201])
def test_answer_without_a_token(answer: bytes, status: int) -> None:
    """A JSON object that has no access token is said to lack it, and has its status."""
    error = refused(reply(status, answer))
    assert said(error).startswith("the answer cannot be used: its access_token is missing")
    assert error.status == status


@pytest.mark.parametrize("name", ["message", "msg", "errors", "errorCode", "reason", "detail"])
def test_complaint(name: str) -> None:
    """A 200 without a token that says why is told with what it says, the secret masked."""
    error = refused(reply(200, content({name: f"{SECRET}\r\nis wrong", "other": "x", "access_token": None})))
    shown = json.dumps({name: "*** is wrong"}).replace("*** ", "***\\r\\n")
    assert said(error) == f"the answer cannot be used: its access_token is missing: {shown}"


def test_form_of_another_type() -> None:
    """What looks like a form is none unless its type says so, or that it is text."""
    error = refused(reply(200, f"access_token={TOKEN}".encode(), Content_Type="text/html"))
    assert TOKEN not in str(error)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings(encoding: str) -> None:
    """JSON is read in UTF-8, -16 and -32, with and without a byte order mark."""
    granted = json.dumps({"access_token": TOKEN, "user": "ü"}, ensure_ascii=False)
    with Fault(reply(200, granted.encode(encoding))) as server:
        oauth2 = client(server)
        assert oauth2.access_token() == TOKEN
    assert oauth2.token is not None
    assert oauth2.token.parameters == {"user": "ü"}


@pytest.mark.parametrize(
    "answer", [b'{"access_token": "%b", "n": 1e999}', b'{"access_token": "%b", "n": -0, "m": 1.5e-400}']
)
def test_numbers(answer: bytes) -> None:
    """Numbers beyond all measure in other members are no obstacle."""
    with Fault(reply(200, answer % TOKEN.encode())) as server:
        assert client(server).access_token() == TOKEN


def test_number_too_long_to_read() -> None:
    """A number that Python does not convert is told like what is no JSON."""
    error = refused(reply(200, b'{"access_token": "%b", "n": %b}' % (TOKEN.encode(), b"9" * 5000)))
    assert TOKEN not in str(error)


@pytest.mark.parametrize("status", [200, 201])
def test_any_success(status: int) -> None:
    """A token is one with any 2xx status."""
    with Fault(reply(status, content({"access_token": TOKEN}))) as server:
        assert client(server).access_token() == TOKEN


# Large and broken answers


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("zipped", [False, True])
def test_large_answer(status: int, zipped: bool) -> None:
    """An answer of more than 1 MB is not read to its end, zipped or not, and the message knows no option."""
    plain = b'{"access_token": "x", "pad": "' + b" " * (2 << 20) + b'"}'
    headers = {"Content_Encoding": "gzip"} if zipped else {}
    error = refused(reply(status, gzip.compress(plain) if zipped else plain, **headers))
    assert isinstance(error.__cause__, ResponseTooLargeError)
    assert "download" not in str(error)
    assert "max_response_size" not in str(error)


def test_answer_that_is_just_not_too_large() -> None:
    """An answer of 1 MB is read."""
    granted = content({"access_token": TOKEN})
    with Fault(reply(200, granted + b" " * ((1 << 20) - len(granted)))) as server:
        assert client(server).access_token() == TOKEN


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BROKEN: dict[str, tuple[Script, type[RequestError]]] = {
    "the end": (End.CLOSE, ConnectionLostError),
    "a reset": (End.RESET, ConnectionLostError),
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n", End.CLOSE], BrokenResponseError),
    "noise": ([b"\x00\xff\x15\x03\x01\r\n\r\n", End.CLOSE], BrokenResponseError),
    "half a status line": ([b"HTTP/1.", End.CLOSE], BrokenResponseError),
    "half a head": ([HEAD, End.RESET], ConnectionLostError),
    "half an answer": (
        [HEAD + b'Content-Length: 99\r\n\r\n{"access_token": "x"}', End.CLOSE],
        TruncatedResponseError,
    ),
    "half an error": (
        [b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\nno", End.CLOSE],
        TruncatedResponseError,
    ),
    "half a chunk": ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", End.CLOSE], RequestError),
    "no chunk": ([HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}", End.CLOSE], BrokenResponseError),
    "two lengths": ([HEAD + b"Content-Length: 2, 3\r\n\r\n{}", End.CLOSE], BrokenResponseError),
    "a wrong coding": (reply(200, b"{}", Content_Encoding="gzip"), DecompressionError),
    "many headers": ([HEAD + b"X: y\r\n" * 200 + b"\r\n{}", End.CLOSE], BrokenResponseError),
    "a long header": ([HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n{}", End.CLOSE], BrokenResponseError),
}


@pytest.mark.parametrize(("script", "cause"), BROKEN.values(), ids=BROKEN)
def test_broken_answer(script: Script, cause: type[RequestError]) -> None:
    """An answer that breaks off or is no HTTP is an error with its cause, and the request is not repeated."""
    error = refused(script)
    assert isinstance(error.__cause__, cause)
    assert said(error) == said_by(error.__cause__)
    assert (error.error, error.error_description) == (None, None)


def said_by(cause: BaseException | None) -> str:
    """Returns what the message of a cause says after the URL."""
    return str(cause).partition("/token: ")[2]


def test_answer_without_a_length() -> None:
    """An answer that ends with its connection is whole."""
    with Fault([HEAD + b"\r\n" + content({"access_token": TOKEN}), End.CLOSE]) as server:
        assert client(server).access_token() == TOKEN


def test_no_connection() -> None:
    """Where nobody listens, the error says so, with its cause."""
    with Fault(GRANTED) as server:
        oauth2 = client(server)
    with pytest.raises(OAuthAccessTokenError, match="no connection") as caught:
        oauth2.access_token()
    assert isinstance(caught.value.__cause__, ConnectError)
    assert caught.value.status is None


@pytest.mark.parametrize("script", [[60.0], [HEAD + b"Content-Length: 99\r\n\r\n{", 60.0]])
def test_timeout(script: Script) -> None:
    """A server that says nothing, or no more, is waited for as long as the timeout says, and asked once."""
    began = time.monotonic()
    error = refused(script, timeout=0.1)
    assert 0.1 <= time.monotonic() - began < 10
    assert isinstance(error.__cause__, RequestTimeoutError)
    assert "0.1 s" in str(error)


def test_default_timeout() -> None:
    """Who says nothing waits for 10 s."""
    assert inspect.signature(OAuth2).parameters["timeout"].default == 10


def test_timeout_of_a_manager() -> None:
    """The user's manager waits as long as it was made to."""
    error = refused([5.0], timeout=10, manager=urllib3.PoolManager(timeout=0.1))
    assert isinstance(error.__cause__, RequestTimeoutError)
    assert "0.1 s" in str(error)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 305, 307, 308])
@pytest.mark.parametrize("same_origin", [True, False])
def test_redirect(status: int, same_origin: bool) -> None:
    """The token endpoint is never redirected, neither elsewhere nor to another path of the same server."""
    with Fault(GRANTED) as elsewhere:
        location = "/elsewhere" if same_origin else f"{elsewhere.url}/token"
        error = refused(reply(status, b"", Location=location))
        assert elsewhere.connections == 0
    assert error.status == status
    assert said(error).endswith("; it is never redirected: use the URL that it is redirected to")


# A manager of the user's


def test_retries_of_a_manager() -> None:
    """A manager that repeats requests and follows redirects does neither here."""
    manager = urllib3.PoolManager(retries=urllib3.Retry(3, status_forcelist=[503], allowed_methods=None))
    for script in (reply(503, b"{}", Retry_After="0"), End.CLOSE, reply(307, b"", Location="/")):
        refused(script, manager=manager)


def test_headers_of_a_manager() -> None:
    """The headers of a manager, which may be the user's credentials for another server, are not sent."""
    manager = urllib3.PoolManager(headers={"Authorization": "Bearer other", "X-Own": "1"})
    with Fault(GRANTED) as server:
        client(server, manager=manager).access_token()
    (request,) = server.received
    assert request.headers.get_all("Authorization") == ["Basic aWQ6c2VjcmV0LTAxMjM0NTY3ODk="]
    assert "X-Own" not in request.headers


def test_proxy(proxy: Proxy, authority: AuthorizationServer) -> None:
    """With a ProxyManager a token request goes through the proxy."""
    manager = urllib3.ProxyManager(proxy.url)
    client = (authority.token_url, authority.client_id, authority.client_secret, "read")
    assert authority.is_active(OAuth2(*client, manager=manager).access_token())
    assert f"POST {authority.token_url} " in proxy.log()


def test_proxy_and_tls(proxy: Proxy, tls: Certificates) -> None:
    """With a ProxyManager a token request over TLS goes through a tunnel, and the proxy sees where to."""
    manager = urllib3.ProxyManager(proxy.url, ssl_context=ssl.create_default_context(cafile=tls.ca_path))
    with Fault(GRANTED, certificate=tls.good_path) as server:
        assert client(server, manager=manager).access_token() == TOKEN
    log = proxy.log()
    assert f"CONNECT {server.url.removeprefix('https://')} " in log
    assert f"{server.url}/token" not in log


def test_proxy_that_refuses(auth_proxy: Proxy) -> None:
    """A proxy that does not let a token request through is the cause of the error."""
    oauth2 = OAuth2(
        "https://as.invalid/token", "id", SECRET, None, manager=urllib3.ProxyManager(auth_proxy.url)
    )
    with pytest.raises(OAuthAccessTokenError) as caught:
        oauth2.access_token()
    assert isinstance(caught.value.__cause__, ProxyError)
    assert_showable(caught.value)


# TLS


@pytest.mark.parametrize("form", [str, Path])
def test_authority_of_ones_own(tls: Certificates, form: Any) -> None:
    """With the path of its CA a server's certificate is accepted."""
    with Fault(GRANTED, certificate=tls.good_path) as server:
        assert client(server, verify_ssl=form(tls.ca_path)).access_token() == TOKEN


def test_manager_with_an_authority_of_its_own(tls: Certificates) -> None:
    """A manager brings its own TLS."""
    manager = urllib3.PoolManager(ca_certs=str(tls.ca_path))
    with Fault(GRANTED, certificate=tls.good_path) as server:
        assert client(server, manager=manager).access_token() == TOKEN


@pytest.mark.parametrize(
    ("certificate", "knows_authority", "fault"),
    [
        ("good", False, "unable to get local issuer certificate"),
        ("expired", True, "certificate has expired"),
        ("wrong_name", True, "IP address mismatch"),
    ],
)
def test_certificate_that_is_not_trusted(
    tls: Certificates, certificate: str, knows_authority: bool, fault: str
) -> None:
    """No credentials go to a server whose certificate is not trusted."""
    options: dict[str, Any] = {"verify_ssl": tls.ca_path} if knows_authority else {}
    with (
        Fault(GRANTED, certificate=getattr(tls, f"{certificate}_path")) as server,
        pytest.raises(OAuthAccessTokenError, match=fault) as caught,
    ):
        client(server, **options).access_token()
    assert isinstance(caught.value.__cause__, TLSError)
    assert not server.received


def test_verification_that_is_turned_off(tls: Certificates) -> None:
    """Who says so gets a token from a server whose certificate is not trusted."""
    with Fault(GRANTED, certificate=tls.expired_path) as server:
        assert client(server, verify_ssl=False).access_token() == TOKEN


def test_tls_that_is_none(nginx: Nginx) -> None:
    """A server that speaks no TLS where https is asked for is the cause of the error."""
    oauth2 = OAuth2(nginx.url.replace("http:", "https:"), "id", SECRET, None)
    with pytest.raises(OAuthAccessTokenError, match="does not speak TLS") as caught:
        oauth2.access_token()
    assert isinstance(caught.value.__cause__, TLSError)


# Errors as objects


@pytest.mark.parametrize(
    "error",
    [
        refused(reply(400, content({"error": "invalid_grant", "error_description": "é\r\n\ud800"}))),
        refused(reply(200, b"{}")),
        refused(End.CLOSE),
    ],
    ids=["refusal", "no token", "no answer"],
)
def test_error_is_copied_and_pickled(error: OAuthAccessTokenError) -> None:
    """An error that was copied or pickled is the same but for its traceback."""
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own
        assert type(other) is OAuthAccessTokenError
        assert (str(other), vars(other)) == (str(error), vars(error))
