"""Sealed: marked secrets go through every flow, and nothing of them is in what anybody could see."""

import base64
import gc
import html
import http.client
import io
import json
import logging
import pickle
import re
import signal
import socket
import ssl
import struct
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any, cast
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import OKPKey
from servers.fault import End, Fault, Received, Script, reply
from servers.tls import Certificates

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuth2Error, OAuthAccessTokenError
from cruds_core import (
    AuthError,
    Client,
    ClientError,
    CrudsError,
    PluginError,
    Plugins,
    RequestError,
    hookimpl,
)
from cruds_core.plugins import default
from cruds_core.secret import SecretText

MARK = "CanaryBird"


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    """What is collected in the depth of a deep answer cannot say farewell there, and pytest takes offence."""
    gc.disable()
    yield
    gc.enable()


def marked(name: str) -> str:
    """Returns a secret with characters that are written in other ways in a form, in HTML and in JSON."""
    return f'{name}+/&="é>{MARK}<%\\'


CLIENT_SECRET, PASSWORD, ENCRYPTION_KEY = marked("client"), marked("password"), marked("key")
CODE, PARAMETER = marked("code"), marked("parameter")
ACCESS_TOKEN, REFRESH_TOKEN, ID_TOKEN = (f"{name}+/~={MARK}" for name in ("access", "refresh", "id"))

KEY = Ed25519PrivateKey.generate()
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
JWK = json.dumps(OKPKey.import_key(PEM).as_dict(private=True))
KEY_MARKS = (PEM.splitlines()[1], json.loads(JWK)["d"])

ISSUER, REDIRECT_URI = "https://issuer.test", "http://127.0.0.1/back"
TOKENS = {
    "access_token": ACCESS_TOKEN,
    "refresh_token": REFRESH_TOKEN,
    "id_token": ID_TOKEN,
    "token_type": "Bearer",
    "expires_in": 3600,
}


# What could be seen


def forms(secret: str) -> Iterator[str]:
    """Yields a secret as it may be written: as it is, percent-encoded, and inside of something in base64."""
    yield from (secret, quote(secret, safe=""))
    for offset, first in enumerate((0, 2, 3)):  # the characters that depend on what stands before it
        encoded = base64.b64encode(bytes(offset) + secret.encode())
        whole = encoded[first : (offset + len(secret.encode())) // 3 * 4].decode()
        yield from (whole, whole.replace("+", "-").replace("/", "_"))


class Watch:
    """Looks for secrets.

    Attributes:
        log: What was logged.
    """

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.log = log
        self.forms: set[str] = set()
        self.pattern = re.compile("(?!)")
        self.sealed: set[str] = set()
        self.know(MARK, *KEY_MARKS)

    def know(self, *secrets: str, sealed: bool = False) -> None:
        """Look for these, too; those that are sealed may not even be where others are held."""
        for secret in secrets:
            assert len(secret) > 5
            self.forms.update(forms(secret))
            if sealed:
                self.sealed.add(secret)
        self.pattern = re.compile("|".join(map(re.escape, self.forms)))

    def read(self, requests: Iterable[Received]) -> None:
        """Look for what was made on the way: the parts of each request that are secrets."""
        for request in requests:
            fields = dict(parse_qsl(request.content.decode()))
            made = ("client_assertion", "code_verifier")
            self.know(*(fields[name] for name in made if name in fields), sealed=True)
            if authorization := request.headers["Authorization"]:
                self.know(authorization.partition(" ")[2])

    def sees(self, text: str) -> bool:
        """Say whether a secret is in a text."""
        return self.pattern.search(text) is not None

    def leaks(self, *roots: object) -> list[str]:
        """Return where secrets are, in what is reachable and in the log; nothing, if all is well."""
        found = [f"log: {record.name}" for record in self.log.records if self.sees(repr(record.args))]
        if self.sees(self.log.text):
            found.append("log")
        for each in reachable(*roots):
            kind = type(each).__name__
            found += [f"{kind}: {how}" for how, text in shown(each) if self.sees(text)]
            if isinstance(each, str) and any(secret in each for secret in self.sealed):
                found.append(f"{kind}: not sealed")
            if isinstance(each, BaseException):
                found += [f"{kind}: {where}" for where, text in traced(each) if self.sees(text)]
        for root in roots:
            try:
                pickled = pickle.dumps(root)
            except (TypeError, AttributeError, pickle.PicklingError) as refused:
                pickled = repr(refused).encode()
            if self.sees(pickled.decode("latin-1")):
                found.append(f"{type(root).__name__}: pickle")
        return found


# What a server said last is kept with a connection, and shown by nobody.
OPAQUE = (
    type,
    ModuleType,
    FunctionType,
    CodeType,
    FrameType,
    TracebackType,
    logging.Logger,
    http.client.HTTPResponse,
)


def reachable(*roots: object) -> Iterator[object]:
    """Yields all objects that the roots hold, whatever holds them, but for those of the whole program."""
    seen: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        each = waiting.pop()
        if id(each) not in seen and not isinstance(each, OPAQUE):
            seen[id(each)] = each
            yield each
            waiting += gc.get_referents(each)


def shown(each: object) -> Iterator[tuple[str, str]]:
    """Yields all that an object says, and what it is if it is a text that is not kept as a secret."""
    yield "repr", repr(each)
    match each:
        case SecretText():
            pass
        case bytes() | bytearray():
            yield "content", each.decode("latin-1")
        case _:
            yield "str", str(each)


def traced(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yields each local variable in a traceback of an error, but for those of the tests, as it is shown."""
    for frame in traceback.TracebackException.from_exception(error, capture_locals=True).stack:
        if frame.filename != __file__:
            for name, text in (frame.locals or {}).items():
                yield f"{Path(frame.filename).name}, {frame.name}: {name}", text


@pytest.fixture
def watch(caplog: pytest.LogCaptureFixture) -> Watch:
    """Looks for the marked secrets, and hears all that is logged."""
    caplog.set_level(logging.DEBUG)
    return Watch(caplog)


def plant_local(error: Exception) -> None:
    """Have an error raised by code of another file, where a local variable is a secret."""
    with pytest.raises(type(error)):
        exec(compile("seen = password\nraise error", "elsewhere.py", "exec"), {"password": PASSWORD, "error": error})  # noqa: S102, E501  # fmt: skip


def plant_cause(error: Exception) -> None:
    """Have an error in the place of another one that says a secret."""
    error.__context__, error.__suppress_context__ = ValueError(PASSWORD), True


PLANTS: dict[str, Callable[[Exception], object]] = {
    "note": lambda error: error.add_note(PASSWORD),
    "argument": lambda error: setattr(error, "args", ([{PASSWORD: 1}],)),
    "attribute": lambda error: setattr(error, "sent", [http.client.IncompleteRead(PASSWORD.encode())]),
    "base64": lambda error: error.add_note(base64.b64encode(f"ab:{PASSWORD}".encode()).decode()),
    "percent-encoded": lambda error: error.add_note(quote(CODE)),
    "context": plant_cause,
    "local": plant_local,
    "key": lambda error: setattr(error, "key", io.BytesIO(PEM.encode())),
    "log": lambda _: logging.getLogger("anybody").debug("%s", PASSWORD),
    "argument of the log": lambda _: logging.getLogger("anybody").debug("%(x).1s", {"x": PASSWORD}),
    "pickle": lambda error: setattr(error, "sent", SecretText(PASSWORD)),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_the_search_finds_what_is_there(watch: Watch, plant: Callable[[Exception], object]) -> None:
    """The search of these tests finds a secret wherever one is put, and nothing where there is none."""
    error = OAuthAccessTokenError("fact")
    assert watch.leaks(error) == []
    plant(error)
    assert watch.leaks(error)


# Flows


@dataclass
class Flow:
    """A request to the authorization server that is about to be made.

    Attributes:
        scheme: Who makes it.
        call: Makes it.
        roots: What else must show nothing.
        secrets: What was made up for it.
    """

    scheme: OAuth2
    call: Callable[[], object]
    roots: list[object] = field(default_factory=list[object])
    secrets: list[str] = field(default_factory=list[str])


def of_client(url: str, **options: Any) -> Flow:
    """Returns a grant of client credentials."""
    secret = None if "private_key" in options else CLIENT_SECRET
    scheme = OAuth2(url, "app", secret, "read", **options)
    return Flow(scheme, scheme.access_token)


def of_user(url: str, **options: Any) -> OAuth2:
    """Returns a scheme for the password grant."""
    return OAuth2(url, "app", CLIENT_SECRET, "read", username="ada", password=PASSWORD, **options)


def password(url: str, **options: Any) -> Flow:
    """Returns a password grant, with a parameter that is a secret."""
    scheme = of_user(url, token_params={"api_key": PARAMETER}, **options)
    return Flow(scheme, scheme.access_token)


def of_browser(url: str, **options: Any) -> OAuth2:
    """Returns a scheme for sign-ins."""
    return OAuth2(
        url,
        "app",
        CLIENT_SECRET,
        "read",
        encryption_key=[ENCRYPTION_KEY, marked("older")],
        authorization_url="http://127.0.0.1:9/authorize",
        redirect_uri=REDIRECT_URI,
        issuer=ISSUER,
        **options,
    )


def state_in(url: str) -> str:
    """Returns the state in an authorization URL."""
    return parse_qs(urlsplit(url).query)["state"][0]


def back(state: str, **more: str) -> str:
    """Returns the redirect URL that a browser is sent to."""
    return f"{REDIRECT_URI}?{urlencode({'code': CODE, 'state': state, **more})}"


def exchange(scheme: OAuth2, redirect_url: str) -> object:
    """Complete a sign-in that the scheme began itself."""
    return scheme.exchange_code_for_token(*scheme.parse_authorization_response(redirect_url))


def code(url: str, **options: Any) -> Flow:
    """Returns the exchange of a code by the object that began the sign-in."""
    scheme = of_browser(url, **options)
    state = state_in(scheme.get_authorization_url())
    return Flow(scheme, lambda: exchange(scheme, back(state)), secrets=[state])


def sign_in(url: str, **options: Any) -> Flow:
    """Returns the completion of a sealed sign-in."""
    scheme = of_browser(url, **options)
    request = scheme.authorization_request()
    state = state_in(request.url)
    return Flow(scheme, lambda: scheme.sign_in(request.sealed, back(state)), secrets=[state, request.sealed])


def refresh(url: str, **options: Any) -> Flow:
    """Returns a refresh: the token that is held has been expired from the start."""
    scheme = of_user(url, **options)
    scheme.access_token()
    return Flow(scheme, scheme.access_token)


def revoke(url: str, **options: Any) -> Flow:
    """Returns a revocation."""
    scheme = of_user(url, revocation_url=f"{url}/revoke", **options)
    scheme.access_token()
    return Flow(scheme, scheme.revoke)


def challenge(url: str, **options: Any) -> Flow:
    """Returns a renewal after a 401 of the API."""
    scheme = of_user(url, **options)
    client = Client(url, scheme, retries=0)
    return Flow(scheme, lambda: client.read("thing"), [client])


#: By name: what makes it, and what is answered before its request.
FLOWS: dict[str, tuple[Callable[..., Flow], list[Script]]] = {
    "client_secret_basic": (of_client, []),
    "client_secret_post": (partial(of_client, token_endpoint_auth_method="client_secret_post"), []),
    "PEM": (partial(of_client, private_key=PEM), []),
    "JWK": (partial(of_client, private_key=JWK), []),
    "password": (password, []),
    "code": (code, []),
    "sign_in": (sign_in, []),
    "refresh": (refresh, [reply(200, json.dumps({**TOKENS, "expires_in": 0}).encode())]),
    "revoke": (revoke, [reply(200, json.dumps(TOKENS).encode())]),
    "challenge": (challenge, [reply(200, json.dumps(TOKENS).encode()), reply(401, b"[]")]),
}


class Answers(Fault):
    """Answers scripts, and after them each request as a function of it says."""

    def __init__(self, scripts: list[Script], last: Callable[[Received], Script]) -> None:
        self.last = last
        super().__init__(*scripts, b"")

    def take(self, request: Received) -> list[Any]:
        """Keep a request and return the script for it."""
        script: Script | list[Any] = super().take(request)
        if script == [b""]:
            script = self.last(request)
        return [script] if isinstance(script, (bytes, End)) else list(script)


# Failures


def echo(request: Received) -> str:
    """Returns all that a request tells, as it is and decoded."""
    authorization = request.headers["Authorization"] or ""
    content = request.content.decode()
    decoded = base64.b64decode(authorization.removeprefix("Basic ")) if "Basic" in authorization else b""
    return "\n".join([authorization, decoded.decode(), content, *(value for _, value in parse_qsl(content))])


def tokens(status: int = 200, cut: int = 0, **members: Any) -> bytes:
    """Returns an answer with tokens, of which the end may be missing."""
    content = json.dumps({**TOKENS, **members}).encode()
    return reply(status, content[: len(content) - cut])


def chunked(content: bytes, more: bytes = b"") -> bytes:
    """Returns an answer of one chunk, which is not the last one."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n" % len(content) + content + b"\r\n" + more


def refuses(status: int, text: str, kind: str = "application/json") -> bytes:
    """Returns an answer of a kind of text."""
    return reply(status, text.encode(), Content_Type=kind)


FORM = "application/x-www-form-urlencoded"
HUGE = json.dumps({**TOKENS, "more": ACCESS_TOKEN * 60_000}).encode()

FAILURES: dict[str, Callable[[Received], Script]] = {
    "closed": lambda _: End.CLOSE,
    "reset": lambda _: End.RESET,
    "time-out": lambda _: [5.0],
    "time-out in the answer": lambda _: [tokens()[:-20], 5.0],
    "truncated": lambda _: [tokens()[:-20], End.CLOSE],
    "reset in the answer": lambda _: [tokens()[:-20], 0.01, End.RESET],
    "truncated chunk": lambda _: [chunked(json.dumps(TOKENS).encode())[:-20], End.CLOSE],
    "no chunk": lambda _: [chunked(json.dumps(TOKENS).encode(), b"-5\r\n"), End.CLOSE],
    "not gzip": lambda _: tokens().replace(b"Content-Type", b"Content-Encoding: gzip\r\nContent-Type"),
    "not HTTP": lambda r: [f"POST / HTTP/1.1\r\n{r.headers}{echo(r)}".encode(), End.CLOSE],
    "bad header": lambda r: [f"HTTP/1.1 200 OK\r\n{echo(r).splitlines()[0]}\r\n\r\n".encode(), End.CLOSE],
    "huge": lambda _: reply(200, HUGE),
    "huge without length": lambda _: [b"HTTP/1.1 200 OK\r\n\r\n" + HUGE, End.CLOSE],
    "huge and broken": lambda _: [chunked(HUGE[:300_000]), End.RESET],
    "redirect": lambda r: reply(307, Location=f"http://127.0.0.1:9/?{r.content.decode()}"),
    "redirect with tokens": lambda _: tokens(302, id_token=None).replace(
        b"Content-Type", b"Location: /\r\nX"
    ),
    "invalid_grant": lambda r: refuses(
        400, json.dumps({"error": "invalid_grant", "error_description": echo(r)})
    ),
    "invalid_client": lambda r: refuses(
        401, json.dumps({"error": "invalid_client", "error_description": echo(r)}, ensure_ascii=False)
    ),
    "odd error": lambda r: refuses(400, json.dumps({"error": echo(r).splitlines()[-1]})),
    "error in a form": lambda r: refuses(
        400, urlencode({"error": "invalid_request", "error_description": echo(r)}), FORM
    ),
    "error with 200": lambda r: refuses(
        200, json.dumps({**TOKENS, "error": "x", "error_description": echo(r)})
    ),
    "error that is an object": lambda _: tokens(400, error={"access_token": ACCESS_TOKEN}),
    "HTML": lambda r: refuses(500, f"<h1>{html.escape(echo(r))}</h1>", "text/html"),
    "problem": lambda r: refuses(400, json.dumps({"detail": echo(r)}), "application/problem+json"),
    "text": lambda r: refuses(503, echo(r), "text/plain"),
    "tokens with 500": lambda _: tokens(500),
    "tokens with 400, cut": lambda _: tokens(400, cut=10),
    "tokens in a form with 500": lambda _: refuses(500, urlencode(TOKENS), FORM),
    "tokens in a list": lambda _: refuses(403, json.dumps([TOKENS])),
    "list of tokens": lambda _: tokens(access_token=[ACCESS_TOKEN]),
    "object in place of a token": lambda _: tokens(access_token={"value": ACCESS_TOKEN}),
    "list of refresh tokens": lambda _: tokens(refresh_token=[REFRESH_TOKEN]),
    "token with a line break": lambda _: tokens(access_token=f"{ACCESS_TOKEN}\n"),
    "refresh token with a line break": lambda _: tokens(refresh_token=f"{REFRESH_TOKEN}\n"),
    "other type": lambda _: tokens(token_type="mac"),
    "type that is an object": lambda _: tokens(token_type={"access_token": ACCESS_TOKEN}),
    "type that is a token": lambda _: tokens(access_token="Bearer", token_type=ACCESS_TOKEN),
    "complaint with 200": lambda r: refuses(200, json.dumps({"message": echo(r), "reason": [echo(r)]})),
    "no number": lambda _: tokens(expires_in="soon"),
    "odd details": lambda _: tokens(authorization_details={"type": "x"}),
    "deep": lambda _: reply(
        200, json.dumps(TOKENS).encode()[:-1] + b', "x": ' + b"[" * 9999 + b"]" * 9999 + b"}"
    ),
    "cut": lambda _: tokens(cut=1),
    "deep error": lambda _: reply(400, b'{"x":' + b"[" * 900 + b"]" * 900 + b"}"),
    "deeper error": lambda _: reply(400, b'{"x":' + b"[" * 3000 + b"]" * 3000 + b"}"),
}

#: Those that are good answers to a revocation, whose content means nothing (RFC 7009, section 2.2).
FINE = {
    *("list of tokens", "object in place of a token", "list of refresh tokens", "token with a line break"),
    *("refresh token with a line break", "other type", "type that is an object", "type that is a token"),
    *("no number", "odd details", "deep", "cut", "complaint with 200"),
}


#: Those that say what was sent, and so depend on the flow; the others do not, beyond who makes the request.
ECHOES = {
    *(
        "bad header",
        "not HTTP",
        "redirect",
        "invalid_grant",
        "invalid_client",
        "odd error",
        "error in a form",
    ),
    *("error with 200", "HTML", "problem", "text", "complaint with 200"),
}
WHOLE = {"password", "revoke"}
FAILING = [(flow, failure) for flow in FLOWS for failure in FAILURES if flow in WHOLE or failure in ECHOES]


@pytest.mark.parametrize(("flow", "failure"), FAILING)
def test_a_failure_tells_nothing(watch: Watch, flow: str, failure: str) -> None:
    """A failure tells no secret: in its chain, attributes, locals and pickles, the log or the scheme."""
    begin, scripts = FLOWS[flow]
    limit = 0.2 if failure.startswith("time-out") else 5.0
    with Answers(scripts, FAILURES[failure]) as server:
        made = begin(server.url, timeout=limit)
        watch.know(*made.secrets, ACCESS_TOKEN, REFRESH_TOKEN, ID_TOKEN, sealed=True)
        error: CrudsError | None = None
        try:
            made.call()
        except CrudsError as raised:
            error = raised
        watch.read(server.received)
    assert (error is None) is (flow == "revoke" and failure in FINE)
    assert watch.leaks(made.scheme, *made.roots, error) == []


@pytest.mark.parametrize("flow", [name for name, (_, scripts) in FLOWS.items() if not scripts])
def test_a_refused_connection_tells_nothing(watch: Watch, flow: str) -> None:
    """A connection that nobody accepts tells no secret."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    made = FLOWS[flow][0](f"http://127.0.0.1:{port}")
    watch.know(*made.secrets, sealed=True)
    with pytest.raises(OAuthAccessTokenError, match="no connection") as caught:
        made.call()
    assert watch.leaks(made.scheme, caught.value) == []


@contextmanager
def breaking(certificate: Path | None, *, resets: bool) -> Generator[str]:
    """Serves one connection of which it reads the beginning; then it resets it, or reads no more."""
    end = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            connection.recv(1000)
            if resets:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                end.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http{'' if certificate is None else 's'}://127.0.0.1:{server.getsockname()[1]}"
        end.set()
        thread.join()


@pytest.mark.parametrize("resets", [True, False], ids=["reset", "time-out"])
@pytest.mark.parametrize("is_tls", [True, False], ids=["TLS", "plain"])
@pytest.mark.parametrize("grant", ["password", "code"])
def test_a_send_that_breaks_tells_nothing(
    watch: Watch, tls: Certificates, grant: str, *, is_tls: bool, resets: bool
) -> None:
    """A request that cannot be sent to its end, plain or over TLS, tells no secret of its content."""
    big = MARK * 500_000  # bytes: more than both ends keep
    options: dict[str, Any] = {"verify_ssl": tls.ca_path, "timeout": 10 if resets else 1.5}
    with breaking(tls.good_path if is_tls else None, resets=resets) as url:
        if grant == "password":
            scheme = OAuth2(url, "app", CLIENT_SECRET, "read", None, "ada", big, **options)
            call = scheme.access_token
        else:
            scheme = of_browser(url, **options)
            state = state_in(scheme.get_authorization_url())
            watch.know(state, sealed=True)
            scheme.parse_authorization_response(back(state, iss=ISSUER))
            call = partial(scheme.exchange_code_for_token, big, state)
        with pytest.raises(OAuthAccessTokenError, match=r"ended before|took no more|no secure") as caught:
            call()
    assert watch.leaks(scheme, caught.value) == []


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals for threads on this system")
def test_an_interrupt_tells_nothing(watch: Watch) -> None:
    """Ctrl-C while an answer is waited for tells no secret."""
    interrupt = partial(signal.pthread_kill, threading.main_thread().ident or 0, signal.SIGINT)
    with Answers([], lambda _: [interrupt, 5.0]) as server:
        made = code(server.url)
        watch.know(*made.secrets, sealed=True)
        with pytest.raises(KeyboardInterrupt) as caught:
            made.call()
        watch.read(server.received)
    assert watch.leaks(made.scheme, caught.value) == []


# Renewal ahead of the end


@pytest.mark.parametrize("failure", ["closed", "time-out", "truncated", *sorted(ECHOES)])
def test_a_renewal_ahead_that_fails_tells_nothing(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """A renewal ahead of the end of a token that fails is logged, and tells no secret."""
    limit = 0.2 if failure.startswith("time-out") else 5.0
    with Answers([reply(200, json.dumps(TOKENS).encode())], FAILURES[failure]) as server:
        scheme = of_user(server.url, timeout=limit)
        token = scheme.access_token()
        now = time.time() + 3595
        monkeypatch.setattr(time, "time", lambda: now)
        assert scheme.access_token() == token
        watch.read(server.received)
    assert len(server.received) > 1
    assert "could not be renewed" in watch.log.text
    watch.know(ACCESS_TOKEN, REFRESH_TOKEN, ID_TOKEN, sealed=True)
    assert watch.leaks(scheme, scheme.token) == []


# The API


def test_a_refusal_of_the_api_tells_nothing(watch: Watch) -> None:
    """The token that an API says it has refused twice is masked in the message, and told by nothing else."""

    def refusal(request: Received) -> Script:
        if request.method == "POST":
            return tokens()
        return refuses(401, json.dumps({"detail": echo(request)}), "application/problem+json")

    with Answers([], refusal) as server, Client(server.url, of_user(server.url), retries=0) as client:
        with pytest.raises(ClientError, match=r": \*\*\*") as caught:
            client.read("thing")
        watch.read(server.received)
    assert MARK in caught.value.data["detail"]  # what the API said is the caller's, whole
    caught.value.response.content, caught.value.response.__dict__["data"] = b"", None
    assert watch.leaks(client, client.auth, caught.value) == []


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET, 5.0], ids=["closed", "reset", "time-out"])
def test_a_request_that_the_api_does_not_answer_tells_nothing(watch: Watch, end: Script | float) -> None:
    """A request with a token that gets no answer tells no token."""

    def answer(request: Received) -> Script:
        return tokens() if request.method == "POST" else [cast("Any", end)]

    with (
        Answers([], answer) as server,
        Client(server.url, of_user(server.url), retries=1, backoff_factor=0, timeout=0.5) as client,
    ):
        with pytest.raises(RequestError) as caught:
            client.read("thing")
        watch.read(server.received)
    watch.know(ACCESS_TOKEN, REFRESH_TOKEN, ID_TOKEN, sealed=True)
    assert watch.leaks(client, client.auth, caught.value) == []


# Answers to sign-ins

ANSWERS: dict[str, Callable[[str], object]] = {
    "other state": lambda _: back(marked("other")),
    "no state": lambda _: f"{REDIRECT_URI}?{urlencode({'code': CODE})}",
    "no code": lambda state: f"{REDIRECT_URI}?{urlencode({'state': state})}",
    "two codes": lambda state: back(state) + "&code=" + quote(CODE),
    "two states": lambda state: back(state) + f"&state={state}",
    "other issuer": lambda state: back(state, iss="https://elsewhere.test"),
    "issuer that is the state": lambda state: back(state, iss=state),
    "issuer that is the code": lambda state: back(state, iss=CODE),
    "token": lambda state: f"{back(state)}#access_token={quote(ACCESS_TOKEN)}",
    "token in the query": lambda state: back(state, access_token=ACCESS_TOKEN),
    "refusal": lambda state: back(state, error="access_denied", error_description=f"{state} {CODE}"),
    "odd refusal": lambda state: back(state, error=f"{CODE} of {state}"),
    "lone surrogate": lambda state: back(state).replace("code=", "code=\udcff"),
    "no port": lambda state: back(state).replace("127.0.0.1", f"127.0.0.1:{state}"),
    "no host": lambda state: back(state).replace("127.0.0.1", "[127.0.0.1"),
    "bytes": lambda state: back(state).encode(),
    "nothing": lambda _: None,
    "list": lambda state: [back(state)],
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("sealed", [True, False], ids=["sign_in", "exchange"])
def test_a_bad_answer_to_a_sign_in_tells_nothing(
    watch: Watch, answer: Callable[[str], Any], *, sealed: bool
) -> None:
    """An answer to a sign-in that is refused tells neither code, state, verifier nor token."""
    with Answers([], lambda _: tokens(400)) as server:
        scheme = of_browser(server.url)
        request = scheme.authorization_request()
        state = state_in(request.url if sealed else scheme.get_authorization_url())
        watch.know(state, request.sealed, sealed=True)
        complete = partial(scheme.sign_in, request.sealed) if sealed else partial(exchange, scheme)
        with pytest.raises((OAuth2Error, TypeError)) as caught:
            complete(answer(state))
    assert watch.leaks(scheme, caught.value) == []


REQUESTS: dict[str, Callable[[str], object]] = {
    "nothing": lambda _: None,
    "bytes": lambda sealed: sealed.encode(),
    "cut": lambda sealed: sealed[:-9],
    "more": lambda sealed: sealed + "\udcff",
    "salt": lambda sealed: "x" + sealed[1:],
}


@pytest.mark.parametrize("change", REQUESTS.values(), ids=REQUESTS)
def test_a_bad_request_tells_nothing(watch: Watch, change: Callable[[str], Any]) -> None:
    """A sealed request that cannot be opened tells neither itself nor the answer that came to it."""
    scheme = of_browser("http://127.0.0.1:9")
    request = scheme.authorization_request()
    state = state_in(request.url)
    watch.know(state, request.sealed, sealed=True)
    with pytest.raises((OAuth2Error, TypeError)) as caught:
        scheme.sign_in(change(request.sealed), back(state))
    assert watch.leaks(scheme, caught.value) == []


def test_the_request_of_another_client_tells_nothing(watch: Watch) -> None:
    """A request that another client sealed under the same key is refused, and tells nothing of its own."""
    scheme = of_browser("http://127.0.0.1:9")
    other = of_browser("http://127.0.0.1:9/other")
    request = other.authorization_request()
    state = state_in(request.url)
    watch.know(state, request.sealed, sealed=True)
    with pytest.raises(OAuth2Error) as caught:
        scheme.sign_in(request.sealed, back(state))
    assert watch.leaks(scheme, other, caught.value) == []


CODES: dict[str, tuple[Any, Any]] = {
    "no state": (CODE, None),
    "bytes": (CODE.encode(), "state"),
    "state in bytes": (CODE, marked("state").encode()),
    "no code": (None, marked("state")),
    "unknown state": (CODE, marked("state")),
    "lone surrogate": (CODE + "\udcff", marked("state")),
}


@pytest.mark.parametrize(("given", "state"), CODES.values(), ids=CODES)
def test_a_bad_code_tells_nothing(watch: Watch, given: Any, state: Any) -> None:
    """A code or a state that cannot be exchanged is told by no error."""
    scheme = of_browser("http://127.0.0.1:9")
    scheme.get_authorization_url()
    with pytest.raises((OAuth2Error, TypeError)) as caught:
        scheme.exchange_code_for_token(given, state)
    assert watch.leaks(scheme, caught.value) == []


@pytest.mark.parametrize("name", ["client_secret", "login_token"])
@pytest.mark.parametrize(
    "value", [PARAMETER, f"{PARAMETER}\n", PARAMETER.encode()], ids=["str", "line", "bytes"]
)
def test_a_bad_parameter_tells_nothing(watch: Watch, name: str, value: Any) -> None:
    """A parameter with the name of a credential that an authorization request cannot have is not told."""
    scheme = OAuth2(
        "http://127.0.0.1:9", "app", None, None, authorization_url="http://127.0.0.1:9", redirect_uri="app:/"
    )
    if (name, value) == ("login_token", PARAMETER):  # it can, and the URL is the caller's
        assert MARK in scheme.get_authorization_url({name: value})
        assert watch.leaks(scheme) == []
        return
    with pytest.raises((TypeError, ValueError)) as caught:
        scheme.get_authorization_url({name: value})
    assert watch.leaks(scheme, caught.value) == []


# Arguments

URL = "http://127.0.0.1:9/token"
GIVEN: dict[str, Any] = {
    "url": URL,
    "client_id": "app",
    "client_secret": CLIENT_SECRET,
    "scope": "read",
    "username": "ada",
    "password": PASSWORD,
    "encryption_key": [ENCRYPTION_KEY, marked("older")],
    "token_params": {"api_key": PARAMETER, "vendor_token": [PARAMETER, PARAMETER]},
    "authorization_params": {"login_token": PARAMETER},
}

WRONG: dict[str, dict[str, Any]] = {
    "url": {"url": 5},
    "url, plain": {"url": "http://elsewhere.test"},
    "client_id": {"client_id": b"app"},
    "client_id, empty": {"client_id": ""},
    "client_secret": {"client_secret": CLIENT_SECRET.encode()},
    "client_secret, line": {"client_secret": f"{CLIENT_SECRET}\n"},
    "client_secret, surrogate": {"client_secret": f"{CLIENT_SECRET}\udcff"},
    "client_secret, list": {"client_secret": [CLIENT_SECRET]},
    "client_secret, mapping": {"client_secret": {"value": CLIENT_SECRET}},
    "scope": {"scope": 5},
    "scope, odd": {"scope": "é"},
    "authorization_details": {"authorization_details": 5},
    "username": {"username": 5},
    "username, line": {"username": "a\n"},
    "username, missing": {"username": None},
    "password": {"password": PASSWORD.encode()},
    "password, line": {"password": f"{PASSWORD}\n"},
    "password, missing": {"password": None},
    "encryption_key": {"encryption_key": ENCRYPTION_KEY.encode()},
    "encryption_key, line": {"encryption_key": f"{ENCRYPTION_KEY}\n"},
    "encryption_key, bytes in a list": {"encryption_key": [ENCRYPTION_KEY, ENCRYPTION_KEY.encode()]},
    "encryption_key, empty in a list": {"encryption_key": [ENCRYPTION_KEY, ""]},
    "encryption_key, mapping": {"encryption_key": {"new": ENCRYPTION_KEY}},
    "authorization_url": {"authorization_url": 5},
    "redirect_uri": {"redirect_uri": 5},
    "redirect_uri, relative": {"redirect_uri": "/back"},
    "state_length": {"state_length": 1},
    "two grants": {"authorization_url": URL, "redirect_uri": REDIRECT_URI},
    "token_endpoint_auth_method": {"token_endpoint_auth_method": "basic"},
    "method without secret": {"token_endpoint_auth_method": "none"},
    "form_encode_basic": {"form_encode_basic": 1},
    "private_key": {"private_key": PEM.encode()},
    "private_key, cut": {"private_key": PEM[:-30], "client_secret": None},
    "private_key, JWK": {"private_key": JWK[:-30], "client_secret": None},
    "private_key, algorithm": {
        "private_key": json.dumps({**json.loads(JWK), "alg": "HS256"}),
        "client_secret": None,
    },
    "private_key, mapping": {"private_key": json.loads(JWK), "client_secret": None},
    "private_key beside a secret": {"private_key": PEM},
    "private_key_id": {"private_key": PEM, "private_key_id": 5, "client_secret": None},
    "assertion_audience": {"private_key": PEM, "assertion_audience": 5, "client_secret": None},
    "token_params": {"token_params": [("api_key", PARAMETER)]},
    "token_params, reserved": {"token_params": {"api_key": PARAMETER, "client_secret": CLIENT_SECRET}},
    "token_params, line": {"token_params": {"api_key": f"{PARAMETER}\n"}},
    "token_params, bytes": {"token_params": {"api_key": [PARAMETER, PARAMETER.encode()]}},
    "authorization_params": {"authorization_params": {"login_token": f"{PARAMETER}\n"}},
    "issuer": {"issuer": 5},
    "requires_issuer": {"requires_issuer": True},
    "revocation_url": {"revocation_url": "http://elsewhere.test"},
    "leeway": {"leeway": -1},
    "timeout": {"timeout": -1},
    "verify_ssl": {"verify_ssl": "nowhere"},
    "manager": {"manager": 5},
    "unknown": {"secret": CLIENT_SECRET},
}


def test_arguments_are_held_and_not_told(watch: Watch) -> None:
    """A scheme tells none of the secrets that it is made with, nor does a Client that makes it."""
    with Client("127.0.0.1", {"scheme": "oauth2", **GIVEN}) as client:
        assert watch.leaks(OAuth2(**GIVEN), client, client.auth) == []


WAYS: dict[str, Callable[[dict[str, Any]], object]] = {
    "OAuth2": lambda options: OAuth2(**options),
    "mapping": lambda options: Client("127.0.0.1", {"scheme": "oauth2", **options}),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_argument_tells_nothing(watch: Watch, way: str, wrong: str) -> None:
    """The error of an argument tells no secret, neither the one that is wrong nor any beside it."""
    with pytest.raises((TypeError, ValueError)) as caught:
        WAYS[way]({**GIVEN, **WRONG[wrong]})
    assert watch.leaks(caught.value) == []


UNUSABLE: dict[str, dict[str, Any]] = {
    "unknown": {"auth": {**GIVEN, "scheme": "oauth3"}},
    "unnamed": {"auth": GIVEN},
    "blocked": {"auth": {**GIVEN, "scheme": "oauth2"}, "plugins": Plugins(allowed="basic")},
    "Client": {"auth": {**GIVEN, "scheme": "oauth2"}, "timeout": -1},
    "no registry": {"auth": {**GIVEN, "scheme": "oauth2"}, "plugins": 5},
    "triple": {"auth": ("ada", PASSWORD, "realm")},
    "pair": {"auth": ("ada", PASSWORD), "timeout": -1},
    "token": {"auth": ACCESS_TOKEN, "timeout": -1},
    "token, bytes": {"auth": ACCESS_TOKEN.encode()},
}


@pytest.mark.parametrize("options", UNUSABLE.values(), ids=UNUSABLE)
def test_a_scheme_that_cannot_be_used_tells_nothing(watch: Watch, options: dict[str, Any]) -> None:
    """A scheme that cannot be built from a mapping with secrets tells none of them."""
    with pytest.raises((TypeError, ValueError, PluginError)) as caught:
        Client("127.0.0.1", **options)
    assert watch.leaks(caught.value) == []


RETURNED: dict[str, Callable[[str], Any]] = {
    "bytes": lambda secret: secret.encode(),
    "line": lambda secret: f"{secret}\n\0",
    "list": lambda secret: [secret],
    "surrogate": lambda secret: f"{secret}\udcff",
}


@pytest.mark.parametrize("change", RETURNED.values(), ids=RETURNED)
@pytest.mark.parametrize("name", ["client_secret", "password", "private_key", "encryption_key"])
def test_a_callable_that_returns_no_secret_tells_nothing(
    watch: Watch, name: str, change: Callable[[str], Any]
) -> None:
    """A callable that returns what cannot be the secret is an error, which does not tell it."""
    sources = {
        "client_secret": CLIENT_SECRET,
        "password": PASSWORD,
        "private_key": PEM,
        "encryption_key": MARK,
    }
    options: dict[str, Any] = {"client_secret": None, "scope": None, name: lambda: change(sources[name])}
    if name == "encryption_key":
        options |= {"authorization_url": "http://127.0.0.1:9", "redirect_uri": REDIRECT_URI}
    if name == "password":
        options["username"] = "ada"
    scheme = OAuth2("http://127.0.0.1:9", "app", **options)
    call = scheme.authorization_request if name == "encryption_key" else scheme.access_token
    with pytest.raises(AuthError, match=name) as caught:
        call()
    assert watch.leaks(scheme, caught.value) == []


DISCOVERIES: dict[str, tuple[Callable[[Received], Script], dict[str, Any]]] = {
    "closed": (lambda _: End.CLOSE, {}),
    "missing": (lambda _: reply(404), {}),
    "HTML": (lambda _: reply(200, b"<html>", Content_Type="text/html"), {}),
    "option": (lambda _: reply(200), {"leeway": -1}),
    "issuer twice": (lambda _: reply(200), {"issuer": "https://elsewhere.test"}),
    "unknown option": (lambda _: reply(200), {"secret": CLIENT_SECRET}),
    "secret in bytes": (lambda _: reply(200), {"client_secret": CLIENT_SECRET.encode()}),
}


@pytest.mark.parametrize(("answer", "options"), DISCOVERIES.values(), ids=DISCOVERIES)
def test_a_discovery_that_fails_tells_nothing(
    watch: Watch, answer: Callable[[Received], Script], options: dict[str, Any]
) -> None:
    """Discovery that fails, or that finds what the options do not fit, tells no secret."""
    given = {name: value for name, value in GIVEN.items() if name not in ("url", "scope")}

    def answered(request: Received) -> Script:
        script = answer(request)
        found = {"issuer": server.url, "token_endpoint": f"{server.url}/token"}
        return reply(200, json.dumps(found).encode()) if script == reply(200) else script

    with Answers([], answered) as server, pytest.raises((OAuth2Error, TypeError, ValueError)) as caught:
        OAuth2.from_issuer(server.url, **{**given, **options})
    assert watch.leaks(caught.value) == []


# Successes


@pytest.mark.parametrize("grant", ["client credentials", "password", "code", "sign_in", "discovered"])
def test_a_success_tells_nothing(watch: Watch, grant: str) -> None:
    """From the first token to its revocation a scheme tells no secret, and keeps every token sealed."""
    with (
        AuthorizationServer(
            client_secret=CLIENT_SECRET, username="ada", password=PASSWORD, rotates=True
        ) as server,
        DemoAPI(token=server.is_active) as api,
    ):
        scheme, roots = granted(grant, server, watch)
        with Client(api.url, scheme, retries=0) as client:
            for _ in range(2):
                assert client.read("things") == []
                server.expire_all()  # so that the next one is refused
            renewals = len(server.token_requests)
            assert renewals == 2
            for request in server.token_requests:
                known = [request[name] for name in ("code", "code_verifier") if name in request]
                watch.know(*known, sealed=True)
            for issued in server.issued.values():
                watch.know(*issued, sealed=True)
            token = scheme.token
            assert token is not None
            assert watch.leaks(scheme, client, token, token.scope, token.expires_at, *roots) == []
            scheme.revoke()
        assert watch.leaks(scheme, client, token) == []


def granted(grant: str, server: AuthorizationServer, watch: Watch) -> tuple[OAuth2, list[object]]:
    """Returns a scheme for a grant, signed in where it needs that, and what else was made."""
    options: dict[str, Any] = {"revocation_url": server.revocation_url, "encryption_key": ENCRYPTION_KEY}
    if grant == "discovered":
        return OAuth2.from_issuer(server.issuer, server.client_id, CLIENT_SECRET, "read", **options), []
    if grant == "password":
        options |= {"username": "ada", "password": PASSWORD}
    if grant in ("code", "sign_in"):
        options |= {"authorization_url": server.authorization_url, "redirect_uri": REDIRECT_URI}
    scheme = OAuth2(server.token_url, server.client_id, CLIENT_SECRET, "read", **options)
    if grant == "code":
        url = scheme.get_authorization_url()
        watch.know(state_in(url), sealed=True)
        assert watch.leaks(scheme) == []
        exchange(scheme, server.sign_in(url))
    elif grant == "sign_in":
        request = scheme.authorization_request()
        first = scheme
        scheme = first.sign_in(request.sealed, server.sign_in(request.url))
        watch.know(state_in(request.url))
        assert not watch.sees(repr(request))
        assert not watch.sees(f"{request}")
        return scheme, [first]
    return scheme, []


class Observer:
    """Keeps what it is told of requests."""

    def __init__(self) -> None:
        self.events: list[object] = []

    @hookimpl
    def cruds_request_started(self, event: object) -> None:
        """Keep it."""
        self.events.append(event)

    @hookimpl
    def cruds_request_finished(self, event: object) -> None:
        """Keep it."""
        self.events.append(event)


def test_observers_are_told_nothing(watch: Watch) -> None:
    """Observers hear of token requests, and of requests with a token, without any secret."""
    observer = Observer()
    default().register(observer)
    try:
        with Answers(list(FLOWS["challenge"][1]), FAILURES["HTML"]) as server:
            made = challenge(f"{server.url}")
            with pytest.raises(OAuthAccessTokenError):
                made.call()
    finally:
        default().unregister(observer)
    # For the token, at the API and to refresh: begun and ended.
    assert len(observer.events) == 6
    assert watch.leaks(*observer.events) == []


# Threads


def test_a_thread_that_dies_tells_nothing(watch: Watch, capfd: pytest.CaptureFixture[str]) -> None:
    """What a thread prints when it dies of an error has no secret in it."""
    with Answers([], FAILURES["invalid_grant"]) as server:
        made = password(server.url)
        thread = threading.Thread(target=made.call)
        before, threading.excepthook = threading.excepthook, threading.__excepthook__
        try:
            thread.start()
            thread.join()
        finally:
            threading.excepthook = before
        watch.read(server.received)
    printed = capfd.readouterr().err
    assert "OAuthAccessTokenError" in printed
    assert not watch.sees(printed)


def test_threads_that_wait_are_told_nothing(watch: Watch) -> None:
    """The error that each of many threads gets for the failure of one of them tells no secret."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(8)
    with Answers([], lambda request: [0.1, cast("bytes", FAILURES["HTML"](request))]) as server:
        made = password(server.url)

        def call() -> None:
            barrier.wait()
            try:
                made.call()
            except OAuthAccessTokenError as error:
                errors.append(error)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        watch.read(server.received)
    assert len(errors) == 8
    assert watch.leaks(made.scheme, *errors) == []
