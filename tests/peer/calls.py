"""The calls that both versions of CRUDs are driven through and, where the versions differ, how.

`docs/migrating.md` has a row for each difference. Both versions run this file: it needs no more than the
standard library, urllib3 and a CRUDs of either version.
"""

import io
import logging
import math
import os
import pickle
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, cast
from unittest import mock
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

from urllib3 import PoolManager, ProxyManager, Retry, Timeout, make_headers
from urllib3.exceptions import HTTPError
from urllib3.fields import RequestField

from cruds import Client
from cruds.auth import OAuth2
from cruds.core import AuthABC
from cruds.exception import OAuthAccessTokenError, OAuthStateError

TIMEOUT = 0.15  # seconds
SECRET = "hunter2"  # looked for in logs and errors
COLOUR = cast("Any", Enum("Colour", {"RED": "red"}, type=str))
IMAGE = b"\x89PNG\xff\x00\r\n"
PARAMS = {"a": 1, "b": "x y", "c": "\u00e9&=/?", "d": "", "e": b"\xff", 5: 1.5}
FORM = {
    "text": "plain",
    "bytes": b"\x00\xff",
    "number": 5,
    "named": ('n\u00e4me "x".txt', "text"),
    "raw": ("raw.bin", IMAGE),
    "typed": ("a.csv", "a,b", "text/csv"),
    "image": ("a.png", IMAGE, "image/png"),
    "nameless": (None, "x"),
}


@dataclass(frozen=True)
class Site:
    """Where the calls go, and what they leave behind."""

    url: str  # a server that records what arrives; its paths say how it answers
    elsewhere: str  # the same under another name, so another origin
    tls: str  # the same over TLS, under an authority that SSL_CERT_FILE names
    closed: str  # where nobody listens
    demo: str  # the API of the demo
    folder: Path  # empty at each call
    waited: list[float]  # the pauses between attempts, in seconds: nobody waits for them


@dataclass(frozen=True)
class Call:
    """One use of a Client.

    Attributes:
        do: Returns what the user gets.
        row: The row of `docs/migrating.md` that tells how the versions differ; "" where they do not.
        old: What 1.x does, by aspect, with every aspect that differs.
        new: What 2.0 does, likewise.
    """

    do: Callable[[Site], Any]
    row: str = ""
    old: dict[str, Any] = field(default_factory=dict[str, Any])
    new: dict[str, Any] = field(default_factory=dict[str, Any])


def sent(
    *lines: str, headers: tuple[str, ...] = (), content: str = "", returned: Any = None, **others: Any
) -> dict[str, Any]:
    """All aspects of requests that arrive over one connection, alike in headers and content."""
    returned = {"value": {"ok": True}} if returned is None else returned
    arrived = {"arrived": list(lines), "headers": [list(headers)], "content": [content]}
    return {**arrived, "connections": 1, "returned": returned, **others}


def refused(error: str, **others: Any) -> dict[str, Any]:
    """All aspects of a call that raises and sends nothing."""
    return {**raised(error), "arrived": [], "headers": [], "content": [], "connections": 0, **others}


def raised(error: str = "HTTPError") -> dict[str, Any]:
    """The aspect of a call that raises."""
    return {"returned": {"raised": error}}


def value(of: Any) -> dict[str, Any]:
    """The aspect of a call that returns a value."""
    return {"returned": {"value": of}}


def raw(text: str) -> dict[str, Any]:
    """The aspect of a call that returns bytes."""
    return {"returned": {"bytes": text}}


class Log(logging.Handler):
    """Keeps what is logged, while it is used as a context."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record)

    def __enter__(self) -> list[logging.LogRecord]:
        logging.getLogger().addHandler(self)
        return self.records

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)


class Login(AuthABC):
    """A scheme as users of 1.x write it: each token that is asked for is the next one."""

    def __init__(self, *tokens: str, held: str | None = None) -> None:
        self.tokens = list(tokens)
        self.held = held
        self.asked = 0

    def access_token(self) -> str:
        """Return the next token, from wherever the user has it."""
        self.asked += 1
        if not self.tokens:
            raise LookupError("no token")
        self.held = self.tokens.pop(0)
        return self.held

    def is_valid(self) -> bool:
        """Say whether there is a token."""
        return self.held is not None


class Incomplete(AuthABC):
    """A scheme that lacks a method."""

    def access_token(self) -> str:
        """Return a token."""
        return "token"


def client(at: Site, path: str = "", **options: Any) -> Any:
    """Return a Client of the recording server that does not pause between attempts."""
    settings: dict[str, Any] = {"backoff_factor": 0, **options}
    return Client(at.url + path, **settings)


def with_headers(at: Site, *headers: tuple[str, str], **options: Any) -> Any:
    """Return a Client that sends these headers with every request."""
    made = client(at, **options)
    for name, text in headers:
        made.request_headers.add(name, text)
    return made


def altered(at: Site, path: str = "", **attributes: Any) -> Any:
    """Return a Client whose attributes were set after it was made."""
    made = client(at, path)
    for name, given in attributes.items():
        setattr(made, name, given)
    return made


def ignoring(at: Site, status: int, **options: Any) -> Any:
    """Return a Client that does not raise for a status."""
    made = client(at, **options)
    made.status_ignore.add(status)
    return made


def again(at: Site) -> Any:
    """Read twice, and give up the token in between."""
    login = Login("one", "two")
    made = client(at, auth=login)
    made.read("anything")
    login.held = None
    return made.read("anything")


def shared(at: Site) -> Any:
    """Read through two Clients that share a scheme."""
    login = Login("one", "two")
    client(at, auth=login).read("anything")
    return client(at, auth=login).read("anything")


def asked(at: Site) -> int:
    """Return how often a Client that sends nothing asks its scheme for a token."""
    login = Login("one")
    client(at, auth=login)
    return login.asked


def replaced_token(at: Site) -> Any:
    """Read with a token that was put into the headers of a Client made with another."""
    made = client(at, auth="one")
    made.request_headers["Authorization"] = "Bearer two"
    return made.read("anything")


def answer(at: Site, kind: str, content: str, **options: Any) -> Any:
    """Return what a read makes of an answer."""
    return client(at, **options).read("reply", {"type": kind, "content": content})


def caught(at: Site, path: str, *attributes: str, **options: Any) -> dict[str, Any]:
    """Return what the error of a read says about the answer."""
    try:
        client(at, **options).read(path)
    except HTTPError as error:
        return {name: getattr(error, name, None) for name in attributes}
    return {}


def pauses(at: Site) -> list[bool]:
    """Return whether the pauses are within the documented bounds, and the same in two calls."""
    runs: list[list[float]] = []
    for _ in range(2):
        caught(at, "status/503", backoff_factor=0.9)
        runs.append([pause for pause in at.waited if pause])
        at.waited.clear()
    bounds = (1.8, 3.6, 7.2)  # 0.9 * 2 ** n for the second, third and fourth repetition
    bounded = [len(run) == 3 and all(map(float.__le__, run, bounds)) for run in runs]
    return [all(bounded), runs[0] == runs[1]]


def told(at: Site, path: str) -> list[str]:
    """Return who tells a program that logs at INFO of a read."""
    with Log() as records, suppress(HTTPError):
        client(at, retries=1).read(path)
    loud = [record for record in records if record.levelno >= logging.INFO]
    return sorted({f"{record.levelname} {record.name}" for record in loud})


def looked_up(host: str) -> list[list[Any]]:
    """Return the hosts and ports that a read asks for, none of which there is."""
    found: list[list[Any]] = []

    def getaddrinfo(host: str, port: int, *_: Any) -> list[Any]:
        found.append([host, port])
        raise socket.gaierror

    real, socket.getaddrinfo = socket.getaddrinfo, getaddrinfo  # type: ignore[assignment]
    try:
        with suppress(HTTPError):
            Client(host, retries=0).read("anything")
    finally:
        socket.getaddrinfo = real
    return found


def through_proxy(at: Site, host: str, **options: Any) -> Any:
    """Read through a proxy, which is the recording server."""
    manager = ProxyManager(at.url, retries=False, **options)
    return Client(host, auth="token", manager=manager).read("anything")


def twice(at: Site, **options: Any) -> Any:
    """Read twice over TLS."""
    made = Client(at.tls, backoff_factor=0, **options)
    made.read("anything")
    return made.read("anything")


def in_threads(at: Site) -> None:
    """Read in two threads that meet at the server, and do it again."""
    made = client(at)
    for _ in range(2):
        pair = [threading.Thread(target=made.read, args=["pair"]) for _ in range(2)]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()


def in_a_child(at: Site) -> Any:
    """Read in a forked process, through a Client that has a connection already, and read on."""
    made = client(at)
    made.read("anything")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: an earlier call's may still end
        child = os.fork()
    if child == 0:
        made.read("anything")
        os._exit(0)
    os.waitpid(child, 0)
    return made.read("anything")


def over_a_file(at: Site) -> Any:
    """Download where a file of the name is."""
    (at.folder / "there.txt").write_text("old")
    return client(at).download("there.txt", at.folder)


def disposed(at: Site, disposition: str, *args: Any) -> Any:
    """Download an answer with a Content-Disposition."""
    params = {"disposition": disposition}
    return client(at).download("reply", at.folder, *args, params=params)


def story(at: Site) -> list[Any]:
    """Return what the API of the demo answers to a day's work."""
    ann = Client(at.demo, auth=("ann", "pw"))
    answers = [
        ann.create("books", {"name": "Dune"}),
        ann.create("books", data={"name": "Emma"}),
        ann.read("books", params={"name": "Emma"}),
        ann.update("books/1", {"year": 1965}),
        ann.update("books/1", {"name": "Dune", "pages": 412}, replace=True),
        ann.create("books/1/files", None, files=FORM),
        ann.download("books/1/files/a.csv", at.folder).name,
        ann.read("books/1/files/a.csv"),
        ann.delete("books/2"),
    ]
    token = Client(at.demo, auth="token", raise_status=False)
    answers += [
        token.read("books"),
        token.read("books/9"),
        token.create("books", {"name": "Dune"}),
        token.create("books", {"title": "Dune"}),
        token.delete("books"),
        Client(at.demo, raise_status=False).read("books"),
    ]
    return [answer.decode("latin-1") if isinstance(answer, bytes) else answer for answer in answers]


def oauth2(at: Site, path: str = "token/one", **options: Any) -> Any:
    """Return an OAuth2 whose token endpoint is at the recording server."""
    settings: dict[str, Any] = {"client_id": "id", "client_secret": "pw", "scope": "read"}
    settings["encryption_key"] = "key"  # without which 1.x takes a second for each call
    return OAuth2(f"{at.url}/{path}", **{**settings, **options})


def ann(at: Site, path: str = "token/one", **options: Any) -> Any:
    """Return an OAuth2 for the password grant."""
    return oauth2(at, path, username="ann", password="p w", **options)


def web(at: Site, path: str = "token/one", **options: Any) -> Any:
    """Return an OAuth2 for sign-ins."""
    settings: dict[str, Any] = {
        "authorization_url": at.url + "/authorize",
        "redirect_uri": CALLBACK,
        **options,
    }
    return oauth2(at, path, **settings)


def asked_for(url: str) -> dict[str, Any]:
    """Return what a URL asks an authorization server for: how long the state is, and nothing of PKCE."""
    parts = urlsplit(url)
    asked: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    asked = {name: text for name, text in asked.items() if not name.startswith("code_challenge")}
    return {**asked, "state": len(asked.get("state", "")), "at": parts.path}


def state_of(url: str) -> str:
    """Return the state that a URL asks to be sent back."""
    return dict(parse_qsl(urlsplit(url).query))["state"]


def came_back(scheme: Any, **params: str) -> tuple[str, str]:
    """Return what an OAuth2 reads in the URL that a browser was sent to."""
    found: tuple[str, str] = scheme.parse_authorization_response(f"{CALLBACK}?{urlencode(params)}")
    return found


def signed_in(at: Site, path: str = "token/one", code: str = "code", **options: Any) -> Any:
    """Return an OAuth2 whose user has signed in."""
    scheme = web(at, path, **options)
    scheme.exchange_code_for_token(
        *came_back(scheme, code=code, state=state_of(scheme.get_authorization_url()))
    )
    return scheme


def exchanged(at: Site, path: str = "token/one", **options: Any) -> Any:
    """Return what an exchange returns, and whether there is a token then, and which one."""
    scheme = web(at, path, **options)
    state = state_of(scheme.get_authorization_url())
    return [scheme.exchange_code_for_token("code", state), scheme.is_valid(), scheme.access_token()]


def tokens(scheme: Any, *pauses: float) -> list[Any]:
    """Return the token of an OAuth2 at first and after each pause, and whether it is valid then."""
    found = [scheme.access_token(), scheme.is_valid()]
    for pause in pauses:
        with later(pause):
            found += [scheme.is_valid(), scheme.access_token(), scheme.is_valid()]
    return found


def later(seconds: float) -> ExitStack:
    """Let the clocks of both versions be ahead."""
    stack, clocks = ExitStack(), [(time, "time"), (time, "monotonic")]
    if hasattr(module := sys.modules["cruds.auth"], "time"):
        clocks.append((module, "time"))  # which 1.x has imported by its name
    for owner, name in clocks:
        clock = getattr(owner, name)
        stack.enter_context(mock.patch.object(owner, name, lambda clock=clock: clock() + seconds))
    return stack


def refusal(do: Callable[[], Any]) -> dict[str, Any]:
    """Return what the error of an OAuth2 says."""
    try:
        do()
    except OAuthAccessTokenError as error:
        names = ("args", "error", "error_description", "status")
        return {name: getattr(error, name, None) for name in names}
    return {}


def two_sign_ins(at: Site) -> Any:
    """Return what the first of two sign-ins gives that were begun on one object."""
    scheme = web(at)
    states = [state_of(scheme.get_authorization_url()) for _ in range(2)]
    return scheme.exchange_code_for_token("code", states[0])


def state_used(at: Site, *states: str) -> Any:
    """Exchange a code with wrong states, and then with the right one: "" stands for it."""
    scheme = web(at)
    right = state_of(scheme.get_authorization_url())
    for state in states:
        with suppress(OAuthStateError):
            scheme.exchange_code_for_token("code", state or right)
    return scheme.exchange_code_for_token("code", right)


def slow_sign_in(at: Site) -> Any:
    """Exchange a code eleven minutes after the sign-in was begun."""
    scheme = web(at)
    state = state_of(scheme.get_authorization_url())
    with later(660):
        return scheme.exchange_code_for_token("code", state)


def told_state(at: Site) -> None:
    """Begin a sign-in whose state is known."""
    with mock.patch("secrets.token_urlsafe", return_value=SECRET):
        web(at).get_authorization_url()


def bad_answer(at: Site, content: str, **options: Any) -> str:
    """Return the path of a token endpoint with this answer."""
    return "reply?" + urlencode({"content": content, "type": "application/json", **options})


def then_valid(scheme: Any) -> Any:
    """Return whether an OAuth2 has a valid token after an attempt to get one that failed."""
    with suppress(Exception):
        scheme.access_token()
    return scheme.is_valid()


def altered_scheme(scheme: Any, **attributes: Any) -> Any:
    """Return the token of an OAuth2 whose attributes were set after it was made."""
    for name, given in attributes.items():
        setattr(scheme, name, given)
    return scheme.access_token()


def cleared(at: Site) -> Any:
    """Return the token of an OAuth2 that had another."""
    scheme = oauth2(at, "token/one,two")
    scheme.access_token()
    scheme.clear_state()
    return scheme.access_token()


def timeouts(do: Callable[[], Any]) -> list[Any]:
    """Return the timeouts that sockets are given."""
    given: list[Any] = []
    real = socket.socket.settimeout

    def settimeout(self: socket.socket, seconds: float | None) -> None:
        given.append(seconds)
        real(self, seconds)

    with mock.patch.object(socket.socket, "settimeout", settimeout):
        do()
    return sorted(set(given), key=str)


def asked_in_threads(at: Site) -> None:
    """Ask an OAuth2 for its token in two threads at once."""
    scheme = oauth2(at, "token/one,two?late=1")
    pair = [threading.Thread(target=scheme.access_token) for _ in range(2)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()


def renewed_by_client(at: Site) -> Any:
    """Read twice through a Client, once its first token has expired."""
    made = client(at, auth=ann(at, "token/one,two?expires_in=300,300&refresh_token=r"))
    made.read("anything")
    with later(400):
        return made.read("anything")


def oauth_renewed(scheme: Any, pause: float) -> list[str]:
    """Return the token of an OAuth2 at first, and after a pause."""
    found = [scheme.access_token()]
    with later(pause):
        return [*found, scheme.access_token()]


def tokens_valid(scheme: Any, pause: float) -> list[bool]:
    """Return whether an OAuth2 has a valid token at first, and after a pause."""
    scheme.access_token()
    with later(pause):
        return [scheme.is_valid()]


def with_pkce(scheme: Any) -> list[str]:
    """Sign a user in, and return the names in the URL of it."""
    url: str = scheme.get_authorization_url()
    scheme.exchange_code_for_token("code", state_of(url))
    return sorted(dict(parse_qsl(urlsplit(url).query)))


def exchange(scheme: Any) -> Any:
    """Return what an exchange of a code returns."""
    state = state_of(scheme.get_authorization_url())
    return scheme.exchange_code_for_token(authorization_code="code", state=state)


def granted(
    content: str = "grant_type=client_credentials&scope=read", basic: str = "aWQ6cHc="
) -> dict[str, Any]:
    """All aspects of one token request."""
    headers = [f"authorization: Basic {basic}", f"content-length: {len(content)}"]
    return {
        **sent("POST /token/one", headers=tuple(headers), content=content, **value("one")),
        "connections": 0,
    }


def detailed(details: str) -> dict[str, Any]:
    """All aspects of one token request with authorization details."""
    return granted(f"authorization_details={quote_plus(details)}&{CREDENTIALS}")


def refreshed(first: list[str], *client: str) -> dict[str, Any]:
    """The headers of a token request and of a refresh."""
    return {"headers": [first, [*client, "content-length: 40"]]}


BASIC = "authorization: Basic aWQ6cHc="
CREDENTIALS = "grant_type=client_credentials&scope=read"
TOKEN_REQUEST = [BASIC, "content-length: 40"]
PASSWORD = "grant_type=password&password=p+w&scope=read&username=ann"
PASSWORD_REQUEST = [BASIC, "content-length: 56"]
CALLBACK = "https://app.example.com/callback"
CODE = "code=code&grant_type=authorization_code&redirect_uri=https%3A%2F%2Fapp.example.com%2Fcallback"
ASKED = {
    "response_type": "code",
    "client_id": "id",
    "redirect_uri": CALLBACK,
    "scope": "read",
    "state": 43,
    "at": "/authorize",
}
A_TYPE = {"type": "a"}
REFUSED = "one,,two?expires_in=300&refresh_token=r&status=200,400,200"
CREATE = ("content-length: 7", "content-type: application/json")
A_1 = '{"a":1}'
WHY = {"value": {"why": "because"}}

CALLS: dict[str, Call] = {
    "all that is documented": Call(story),
    # --- where a request goes --------------------------------------------------------------------------
    "create": Call(lambda at: client(at).create("anything", {"name": "x"})),
    "update": Call(lambda at: client(at).update("anything/1", {"name": "y"})),
    "update that replaces": Call(lambda at: client(at).update("anything/1", {"name": "z"}, replace=True)),
    "delete": Call(lambda at: client(at).delete("anything/1")),
    "arguments by name": Call(
        lambda at: client(at).update(uri="u", data=[1], params={"a": 1}, replace=True, files=None)
    ),
    "arguments by position": Call(lambda at: client(at).update("u", [1], {"a": 1}, True, {"f": "x"})),
    "options by position": Call(
        lambda at: Client(at.url, "t", None, 9.0, False, 0, 0, (501,), False, True).read("status/501")
    ),
    "params of read": Call(lambda at: client(at).read("anything", PARAMS)),
    "params of create": Call(lambda at: client(at).create("anything", {}, PARAMS)),
    "params of update": Call(lambda at: client(at).update("anything", {}, PARAMS)),
    "params of a replacement": Call(lambda at: client(at).update("anything", {}, PARAMS, replace=True)),
    "params of delete": Call(lambda at: client(at).delete("anything", PARAMS)),
    "params of download": Call(lambda at: client(at).download("a.txt", at.folder, params=PARAMS)),
    "params in pairs": Call(lambda at: client(at).read("anything", [("a", 1), ("a", 2)])),
    "params that are empty": Call(lambda at: client(at).read("anything", {})),
    "params with a list": Call(
        lambda at: client(at).read("anything", {"a": [1, 2]}),
        "A sequence in `params`",
        sent("GET /anything?a=%5B1%2C+2%5D"),
        sent("GET /anything?a=1&a=2"),
    ),
    "params with None": Call(
        lambda at: client(at).delete("anything", {"a": None, "b": 1}),
        "None in `params`",
        sent("DELETE /anything?a=None&b=1"),
        sent("DELETE /anything?b=1"),
    ),
    "params with booleans": Call(
        lambda at: client(at).create("anything", {"a": 1}, {"a": True, "b": False}),
        "A boolean in `params`",
        sent("POST /anything?a=True&b=False", headers=CREATE, content=A_1),
        sent("POST /anything?a=true&b=false", headers=CREATE, content=A_1),
    ),
    "params with a mapping": Call(
        lambda at: client(at).read("anything", {"a": {"b": 1}}),
        "A mapping, or a list in a list, in `params`",
        sent("GET /anything?a=%7B%27b%27%3A+1%7D"),
        refused("TypeError"),
    ),
    "params with a list in a list": Call(
        lambda at: client(at).read("anything", {"a": [1, [2]]}),
        "A mapping, or a list in a list, in `params`",
        sent("GET /anything?a=%5B1%2C+%5B2%5D%5D"),
        refused("TypeError"),
    ),
    "params with a sequence as a name": Call(
        lambda at: client(at).read("anything", {("a", "b"): 1}),
        "A sequence as a name in `params`",
        sent("GET /anything?%28%27a%27%2C+%27b%27%29=1"),
        refused("TypeError"),
    ),
    "params with a member of an Enum": Call(
        lambda at: client(at).read("anything", {"a": COLOUR.RED}),
        "A member of an Enum in `params`",
        sent("GET /anything?a=Colour.RED"),
        sent("GET /anything?a=red"),
    ),
    "params beside a query": Call(
        lambda at: client(at).read("anything?a=1", {"b": 2}),
        "`params` beside a query in the uri",
        sent("GET /anything?a=1?b=2"),
        sent("GET /anything?a=1&b=2"),
    ),
    "uri with a query": Call(lambda at: client(at).read("anything?a=1&b=%20&c=d e")),
    "uri with a slash in front": Call(lambda at: client(at, "/base").read("/anything")),
    "uri with two slashes in front": Call(lambda at: client(at, "/base").read("//anything")),
    "uri with a slash at the end": Call(lambda at: client(at, "/base").read("anything/")),
    "uri that is empty": Call(lambda at: client(at, "/base").read("")),
    "uri with colons": Call(lambda at: client(at).read("urn:isbn:1/a:b")),
    "uri with a URL inside": Call(lambda at: client(at).read("fetch/http://example.com/x")),
    "uri with spaces and umlauts": Call(lambda at: client(at).read("a b/\u00e4%2F%20")),
    "uri with dot segments inside": Call(lambda at: client(at, "/base").read("a/../b/./c")),
    "uri that climbs": Call(
        lambda at: client(at, "/base").read("../anything"),
        "Dot segments that leave the base path",
        sent("GET /anything"),
        refused("ValueError"),
    ),
    "uri that climbs, encoded": Call(
        lambda at: client(at, "/base").read("%2e%2e/anything"),
        "Dot segments that leave the base path",
        sent("GET /base/%2E%2E/anything"),
        refused("ValueError"),
    ),
    "uri that is a URL under the host": Call(
        lambda at: client(at, "/base").read(at.url + "/base/anything"),
        "An absolute URL as uri",
        sent("GET /base/http://server/base/anything"),
        sent("GET /base/anything"),
    ),
    "uri that is a URL elsewhere": Call(
        lambda at: client(at).read(at.elsewhere + "/anything"),
        "An absolute URL as uri",
        sent("GET /http://elsewhere/anything"),
        refused("ValueError"),
    ),
    "uri with a fragment": Call(
        lambda at: client(at).read("anything#part"),
        "A fragment in the uri",
        sent("GET /anything"),
        refused("ValueError"),
    ),
    "host with a base path": Call(lambda at: client(at, "/base/v1").create("anything", {})),
    "host with a slash": Call(lambda at: client(at, "/").read("anything")),
    "host with a base path and a slash": Call(lambda at: client(at, "/base/").download("x.txt", at.folder)),
    "host without a scheme": Call(
        lambda at: looked_up("api.example.com"),
        "A host without a scheme",
        value([["api.example.com", 80]]) | {"warned": ["FutureWarning"]},
        value([["api.example.com", 443]]) | {"warned": []},
    ),
    "host without a scheme, on this machine": Call(
        lambda at: Client(at.url.removeprefix("http://")).read("anything"),
        "A host without a scheme",
        sent("GET /anything", warned=["FutureWarning"]),
        sent("GET /anything", warned=[]),
    ),
    "host with credentials": Call(
        lambda at: Client(at.url.replace("//", "//ann:pw@")).read("anything"),
        "Credentials in the host",
        sent("GET /anything"),
        refused("ValueError"),
    ),
    "host with a query": Call(
        lambda at: client(at, "/base?key=1").read("anything"),
        "A query in the host",
        sent("GET /base?key=1/anything"),
        refused("ValueError"),
    ),
    "host with port 0": Call(
        lambda at: looked_up("http://api.example.com:0"),
        "Port 0 in the host",
        value([["api.example.com", 0]]),
        raised("ValueError"),
    ),
    "host with two slashes": Call(
        lambda at: client(at, "/base//").read("anything"),
        "Two slashes at the end of the host",
        sent("GET /base//anything"),
        sent("GET /base/anything"),
    ),
    "host that is set": Call(
        lambda at: altered(at, host=at.url + "/base/").read("anything"),
        "Setting `host` or `manager`",
        sent("GET /base/anything"),
        refused("AttributeError"),
    ),
    "manager that is set": Call(
        lambda at: altered(at, manager=PoolManager(retries=False)).read("anything"),
        "Setting `host` or `manager`",
        sent("GET /anything"),
        refused("AttributeError"),
    ),
    "serialize that is set": Call(lambda at: altered(at, serialize=False).create("anything", "text")),
    "raise_status that is set": Call(lambda at: altered(at, raise_status=False).read("status/404")),
    # --- what is sent ----------------------------------------------------------------------------------
    "headers of a read": Call(
        lambda at: client(at).read("anything"),
        "Default headers",
        sent("GET /anything", headers=("accept-encoding: identity", "user-agent: python-urllib3/N")),
        sent(
            "GET /anything",
            headers=(
                "accept-encoding: gzip,deflate",
                "accept: application/json, */*;q=0.5",
                "user-agent: cruds-core/N",
            ),
        ),
    ),
    "headers of a raw read": Call(
        lambda at: client(at, serialize=False).read("anything"),
        "Default headers",
        {"headers": [["accept-encoding: identity", "user-agent: python-urllib3/N"]]},
        {"headers": [["accept-encoding: gzip,deflate", "accept: */*", "user-agent: cruds-core/N"]]},
    ),
    "headers of the user's": Call(
        lambda at: with_headers(at, ("X-Trace", "1"), ("x-tenant", "\u00e4")).create("anything", {})
    ),
    "headers of the user's, in a dict": Call(
        lambda at: altered(at, request_headers={"X-Trace": "1"}).create("anything", {})
    ),
    "header that is there twice": Call(
        lambda at: with_headers(at, ("X-Tag", "a"), ("X-Tag", "b")).read("anything")
    ),
    "header Content-Type": Call(
        lambda at: with_headers(at, ("content-type", "application/merge-patch+json")).update("a", {"b": 1})
    ),
    "headers Accept and User-Agent": Call(
        lambda at: with_headers(at, ("accept", "text/csv"), ("user-agent", "me/1")).read("anything")
    ),
    "header that is a number": Call(
        lambda at: altered(at, request_headers={"X-Version": 5}).read("anything"),
        "A header that is not a str",
        sent("GET /anything", headers=("x-version: 5",)),
        refused("TypeError"),
    ),
    "Content-Length of the caller's own": Call(
        lambda at: altered(at, request_headers={"Content-Length": "0"}).read("anything"),
        "Content-Length and Transfer-Encoding in `request_headers`",
        sent("GET /anything", headers=("content-length: 0",)),
        refused("ValueError"),
    ),
    "raise_status that is a str": Call(
        lambda at: client(at, raise_status="no").read("anything"),
        "Other options of another type",
        sent("GET /anything"),
        refused("TypeError"),
    ),
    "token with the word Bearer": Call(
        lambda at: client(at, auth="Bearer abc").read("anything"),
        'A token that begins with the word "Bearer"',
        sent("GET /anything", headers=("authorization: Bearer Bearer abc",)),
        refused("ValueError"),
    ),
    "data that is a list": Call(lambda at: client(at).create("anything", [1, {"a": None}, 2.5, True])),
    "data beyond ASCII": Call(lambda at: client(at).create("anything", {"n\u00e4me": "\u2603"})),
    "data that is empty": Call(lambda at: client(at).create("anything", {})),
    "data that is a str": Call(lambda at: client(at).create("anything", "text")),
    "data that is a number": Call(lambda at: client(at).update("anything", 0)),
    "data that is None": Call(lambda at: client(at).create("anything", None)),
    "data that is bytes": Call(
        lambda at: client(at).create("anything", b'{"a":1}'),
        "bytes as `data`",
        refused("TypeError"),
        sent("POST /anything", headers=("content-length: 7",), content=A_1),
    ),
    "data with NaN": Call(
        lambda at: client(at).create("anything", {"a": math.nan}),
        "`data` that JSON has no form for",
        sent(
            "POST /anything",
            headers=("content-length: 9", "content-type: application/json"),
            content='{"a":NaN}',
        ),
        refused("ContentError"),
    ),
    "data with a set": Call(
        lambda at: client(at).create("anything", {"a": {1}}),
        "`data` that JSON has no form for",
        refused("TypeError"),
        refused("ContentError"),
    ),
    "raw str": Call(lambda at: client(at, serialize=False).create("anything", "t\u00e4xt")),
    "raw bytes": Call(lambda at: client(at, serialize=False).update("anything", IMAGE, replace=True)),
    "raw None": Call(lambda at: client(at, serialize=False).update("anything", None)),
    "raw dict": Call(
        lambda at: client(at, serialize=False).create("anything", {"a": 1, "b": 2}),
        "Other `data` with `serialize=False`",
        sent("POST /anything", headers=("transfer-encoding: chunked",), content="ab", **raw('{"ok": true}')),
        refused("ContentError"),
    ),
    "raw generator": Call(
        lambda at: client(at, serialize=False).create("anything", (text for text in ("a", "b"))),
        "Other `data` with `serialize=False`",
        sent("POST /anything", headers=("transfer-encoding: chunked",), content="ab", **raw('{"ok": true}')),
        refused("ContentError"),
    ),
    "raw file": Call(
        lambda at: client(at, serialize=False).create("anything", io.BytesIO(b"file")),
        "A file as `data` with `serialize=False`",
        {"headers": [["transfer-encoding: chunked"]]},
        {"headers": [["content-length: 4"]]},
    ),
    "files of create": Call(lambda at: client(at).create("anything", None, files=FORM)),
    "files of update": Call(lambda at: client(at).update("anything", None, files=FORM)),
    "files of a replacement": Call(lambda at: client(at).update("a", None, replace=True, files=FORM)),
    "files and data and params": Call(lambda at: client(at).create("anything", {"a": 1}, {"b": 2}, FORM)),
    "files without serialize": Call(lambda at: client(at, serialize=False).create("a", "x", files=FORM)),
    "files in pairs": Call(
        lambda at: client(at).create(
            "a", None, files=[("a", "1"), ("a", ("b.txt", "2")), RequestField("c", "3")]
        )
    ),
    "files that are none": Call(
        lambda at: client(at).create("anything", {"a": 1}, files={}),
        "Empty `files`",
        sent("POST /anything", headers=("content-length: 0",)),
        sent("POST /anything", headers=CREATE, content=A_1),
    ),
    "files that are open": Call(
        lambda at: client(at).create("anything", None, files={"f": ("a.txt", io.BytesIO(b"file"))}),
        "An open file in `files`",
        refused("TypeError"),
        sent(
            "POST /anything",
            headers=("content-length: 168", "content-type: multipart/form-data; boundary=BOUNDARY"),
            content='--BOUNDARY\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n'
            "Content-Type: text/plain\r\n\r\nfile\r\n--BOUNDARY--\r\n",
        ),
    ),
    "files with None": Call(
        lambda at: client(at).create("anything", None, files={"a": None}),
        "`files` of another type",
        refused("TypeError"),
        refused("ContentError"),
    ),
    "files with a boolean": Call(
        lambda at: client(at).create("anything", None, files={"a": True}),
        "`files` of another type",
        sent(
            "POST /anything",
            headers=("content-length: 124", "content-type: multipart/form-data; boundary=BOUNDARY"),
            content='--BOUNDARY\r\nContent-Disposition: form-data; name="a"\r\n\r\nTrue\r\n--BOUNDARY--\r\n',
        ),
        refused("ContentError"),
    ),
    "files under a Content-Type": Call(
        lambda at: with_headers(at, ("Content-Type", "application/json")).create("a", 0, files={"a": "b"}),
        "`files` with a Content-Type of your own",
        {"headers": [["content-length: 121", "content-type: application/json"]]},
        {"headers": [["content-length: 121", "content-type: multipart/form-data; boundary=BOUNDARY"]]},
    ),
    # --- who asks --------------------------------------------------------------------------------------
    "auth with a token": Call(lambda at: client(at, auth="token").create("anything", {})),
    "auth with a token that has a line break": Call(lambda at: client(at, auth="a\n").read("anything")),
    "auth with a token that is refused": Call(lambda at: client(at, auth="a").read("private?token=b")),
    "auth with a token that is empty": Call(
        lambda at: client(at, auth="").read("anything"),
        "A token that is empty or not ASCII",
        sent("GET /anything", headers=("authorization: Bearer ",)),
        refused("ValueError"),
    ),
    "auth with a token beyond ASCII": Call(
        lambda at: client(at, auth="t\u00f6ken").read("anything"),
        "A token that is empty or not ASCII",
        sent("GET /anything", headers=("authorization: Bearer t\u00f6ken",)),
        refused("ValueError"),
    ),
    "auth with a pair": Call(lambda at: client(at, auth=("ann", "p:w")).update("anything", {})),
    "auth with a pair in a list": Call(lambda at: client(at, auth=["ann", "pw"]).delete("anything")),
    "auth with a pair in Latin-1": Call(
        lambda at: client(at, auth=("j\u00f6rg", "pw")).read("anything"),
        "A username or password beyond ASCII",
        sent("GET /anything", headers=("authorization: Basic avZyZzpwdw==",)),
        sent("GET /anything", headers=("authorization: Basic asO2cmc6cHc=",)),
    ),
    "auth with a pair beyond Latin-1": Call(
        lambda at: client(at, auth=("\u0142ukasz", "pw")).read("anything"),
        "A username or password beyond ASCII",
        refused("UnicodeEncodeError"),
        sent("GET /anything", headers=("authorization: Basic xYJ1a2Fzejpwdw==",)),
    ),
    "auth with a pair that has a colon": Call(
        lambda at: client(at, auth=("a:b", "pw")).read("anything"),
        "A colon in the username",
        sent("GET /anything", headers=("authorization: Basic YTpiOnB3",)),
        refused("ValueError"),
    ),
    "auth with a pair that is refused": Call(
        lambda at: client(at, auth=("ann", "pw")).read("private?token=a")
    ),
    "auth with a pair that lacks a password": Call(
        lambda at: client(at, auth=("ann", None)).read("anything"),
        "A username or password that is not a str",
        sent("GET /anything", headers=("authorization: Basic YW5uOk5vbmU=",)),
        refused("TypeError"),
    ),
    "auth with a number": Call(
        lambda at: client(at, auth=42).read("anything"),
        "An `auth` of another type",
        sent("GET /anything"),
        refused("TypeError"),
    ),
    "auth with three": Call(
        lambda at: client(at, auth=("a", "b", "c")).read("anything"),
        "An `auth` of another type",
        sent("GET /anything"),
        refused("TypeError"),
    ),
    "auth with a class": Call(
        lambda at: client(at, auth=Login).read("anything"),
        "An `auth` of another type",
        sent("GET /anything"),
        refused("TypeError"),
    ),
    "auth in the headers": Call(
        lambda at: with_headers(at, ("Authorization", "Bearer one")).read("private?token=one")
    ),
    "auth in the headers, too": Call(
        replaced_token,
        "The Authorization header in `request_headers`",
        {"headers": [["authorization: Bearer two"]]},
        {"headers": [["authorization: Bearer one"]]},
    ),
    "scheme": Call(lambda at: client(at, auth=Login("one")).create("anything", {})),
    "scheme of a download": Call(lambda at: client(at, auth=Login("a")).download("x.txt", at.folder)),
    "scheme that lacks a method": Call(lambda at: client(at, auth=Incomplete()).read("anything")),
    "scheme that fails": Call(lambda at: client(at, auth=Login()).read("anything")),
    "scheme whose token ends": Call(again),
    "scheme whose token is empty": Call(
        lambda at: client(at, auth=Login("")).read("anything"),
        "A token that is empty or not ASCII",
        sent("GET /anything", headers=("authorization: Bearer ",)),
        refused("AuthError"),
    ),
    "scheme whose token is refused": Call(
        lambda at: client(at, auth=Login("one", "two")).read("private", {"token": "two"}),
        "A 401 to a scheme's token",
        sent("GET /private?token=two", headers=("authorization: Bearer one",), **raised()),
        sent("GET /private?token=two", "GET /private?token=two")
        | {"headers": [["authorization: Bearer one"], ["authorization: Bearer two"]]},
    ),
    "scheme whose tokens are refused": Call(
        lambda at: client(at, auth=Login("one", "two", "three")).create("private?token=three", {"a": 1}),
        "A 401 to a scheme's token",
        sent(
            "POST /private?token=three",
            headers=("authorization: Bearer one", *CREATE),
            content=A_1,
            **raised(),
        ),
        sent("POST /private?token=three", "POST /private?token=three", content=A_1, **raised())
        | {"headers": [["authorization: Bearer one", *CREATE], ["authorization: Bearer two", *CREATE]]},
    ),
    "scheme that holds a token": Call(
        lambda at: client(at, auth=Login("two", held="one")).read("anything"),
        "A scheme that holds a token already",
        sent("GET /anything"),
        sent("GET /anything", headers=("authorization: Bearer two",)),
    ),
    "scheme of two Clients": Call(
        shared,
        "A scheme that holds a token already",
        {"headers": [["authorization: Bearer one"], []]},
        {"headers": [["authorization: Bearer one"]]},
    ),
    "scheme of a Client that sends nothing": Call(
        asked, "When a scheme is asked for its first token", value(1), value(0)
    ),
    # --- what returns ----------------------------------------------------------------------------------
    "answer that is a list": Call(lambda at: answer(at, "application/json", "[1, 2]")),
    "answer that is null": Call(lambda at: answer(at, "application/json; charset=utf-8", "null")),
    "answer beyond ASCII": Call(lambda at: answer(at, "application/json", '"\u00e4"')),
    "answer with a +json suffix": Call(lambda at: answer(at, "application/vnd.api+json", '{"a": 1}')),
    "answer without a type": Call(lambda at: answer(at, "", '{"a": 1}')),
    "answer without serialize": Call(lambda at: answer(at, "application/json", "[1]", serialize=False)),
    "answer that is broken JSON": Call(lambda at: answer(at, "application/json", '{"a": ')),
    "answer that is text": Call(lambda at: answer(at, "text/plain", "hello")),
    "answer in gzip": Call(lambda at: client(at).read("gzip")),
    "answer in broken gzip": Call(lambda at: client(at).read("broken-gzip")),
    "answer that is an image, without serialize": Call(lambda at: client(at, serialize=False).read("image")),
    "answer that is empty": Call(lambda at: answer(at, "text/plain", "")),
    "answer with 204": Call(lambda at: client(at).delete("status/204")),
    "answer with 304": Call(lambda at: client(at).read("status/304")),
    "answer that is JSON but called text": Call(
        lambda at: answer(at, "text/plain", '{"a": 1}'),
        "JSON under another content type",
        value({"a": 1}),
        raw('{"a": 1}'),
    ),
    "answer that is a number but called HTML": Call(
        lambda at: answer(at, "text/html", "12"), "JSON under another content type", value(12), raw("12")
    ),
    "answer with a byte order mark": Call(
        lambda at: answer(at, "application/json", "\ufeff[1]"),
        "JSON with a byte order mark",
        raw("\u00ef\u00bb\u00bf[1]") | {"logged": ["cruds"]},
        value([1]) | {"logged": []},
    ),
    "answer that is an image": Call(
        lambda at: client(at).read("image"),
        "An answer that is not UTF-8",
        raised("UnicodeDecodeError"),
        raw("\u0089PNG\u00ff"),
    ),
    "answer with 204 and a type": Call(
        lambda at: client(at).delete("status/204?type=application/json"),
        "No content under a JSON content type",
        {"logged": ["cruds"]},
        {"logged": []},
    ),
    "answer over 512 MiB": Call(
        lambda at: client(at, retries=1).read("huge"),  # it breaks off, and so is read again by who reads it
        "An answer over 512 MiB",
        sent("GET /huge", "GET /huge", connections=2, **raised()),
        sent("GET /huge", **raised()),
    ),
    # --- errors ----------------------------------------------------------------------------------------
    "999": Call(
        lambda at: client(at).read("status/999"),
        "A status of 600 or more",
        {"returned": WHY},
        raised(),
    ),
    "302 without a Location": Call(
        lambda at: client(at).read("status/302"),
        "A redirect without a Location",
        {"returned": WHY},
        raised(),
    ),
    "404": Call(lambda at: client(at).read("status/404")),
    "422 of create": Call(lambda at: client(at).create("status/422", {})),
    "501 of delete": Call(lambda at: client(at).delete("status/501")),
    "404 without raise_status": Call(lambda at: client(at, raise_status=False).read("status/404")),
    "404 that is ignored": Call(lambda at: ignoring(at, 404).read("status/404")),
    "403 beside 404 that is ignored": Call(lambda at: ignoring(at, 404).read("status/403")),
    "501 that is ignored": Call(lambda at: ignoring(at, 501).create("status/501", {})),
    "404 and its error": Call(
        lambda at: caught(at, "status/404", "status", "data", "args"),
        "What an error carries",
        value(
            {
                "status": None,
                "data": None,
                "args": ['Client Error with status code 404 Message: {"why": "because"}'],
            }
        ),
        value(
            {
                "status": 404,
                "data": {"why": "because"},
                "args": ['GET http://server/status/404: 404 Not Found: {"why": "because"}'],
            }
        ),
    ),
    "503 and its error": Call(
        lambda at: caught(at, "status/503", "status", "data", retries=1),
        "What an error carries",
        value({"status": None, "data": None}),
        value({"status": 503, "data": {"why": "because"}}),
    ),
    "503 without raise_status": Call(
        lambda at: client(at, retries=1, raise_status=False).read("status/503"),
        "`raise_status=False` and `status_ignore` after retries",
        raised(),
        {"returned": WHY},
    ),
    "503 that is ignored": Call(
        lambda at: ignoring(at, 503, retries=1).read("status/503"),
        "`raise_status=False` and `status_ignore` after retries",
        raised(),
        {"returned": WHY},
    ),
    "nobody there": Call(lambda at: Client(at.closed, retries=1, backoff_factor=0).read("anything")),
    "nobody there for create": Call(lambda at: Client(at.closed, retries=0).create("anything", {})),
    # --- retries ---------------------------------------------------------------------------------------
    "503 twice": Call(lambda at: client(at).read("status/503,503,200")),
    "503 for ever": Call(lambda at: client(at).read("status/503")),
    "503 with retries=0": Call(lambda at: client(at, retries=0).read("status/503")),
    "503 with retries=None": Call(lambda at: client(at, retries=None).read("status/503")),
    "503 with retries=2": Call(lambda at: client(at, retries=2).delete("status/503")),
    "503 of create": Call(lambda at: client(at).create("status/503,200", {"a": 1})),
    "429 of update": Call(lambda at: client(at).update("status/429,200", {"a": 1})),
    "425 of create with files": Call(lambda at: client(at).create("status/425,200", None, files=FORM)),
    "408 of create": Call(lambda at: client(at).create("status/408,200", {})),
    "500 of delete": Call(lambda at: client(at).delete("status/500,200")),
    "502 of a replacement": Call(lambda at: client(at).update("status/502,200", {"a": 1}, replace=True)),
    "504 of download": Call(lambda at: client(at).download("status/504,200", at.folder)),
    "404 that is listed": Call(lambda at: client(at, retry_status_codes=[404]).read("status/404,200")),
    "503 that is not listed": Call(lambda at: client(at, retry_status_codes=[404]).read("status/503")),
    "503 with Retry-After": Call(lambda at: client(at).read("status/503,200?retry_after=120")),
    "503 with a longer Retry-After": Call(
        lambda at: client(at).read("status/503,200?retry_after=121"),
        "A Retry-After of more than 120 seconds",
        sent(*["GET /status/503,200?retry_after=121"] * 2, returned=WHY, waited=[121]),
        sent("GET /status/503,200?retry_after=121", **raised(), waited=[]),
    ),
    "503 with Retry-After, not listed": Call(
        lambda at: client(at, retry_status_codes=[500]).read("status/503,200?retry_after=1"),
        "Statuses outside `retry_status_codes`",
        sent(*["GET /status/503,200?retry_after=1"] * 2, returned=WHY, waited=[1]),
        sent("GET /status/503,200?retry_after=1", **raised(), waited=[]),
    ),
    "503 with an odd Retry-After": Call(
        lambda at: client(at).read("status/503,200?retry_after=soon"),
        "A Retry-After that cannot be read",
        sent("GET /status/503,200?retry_after=soon", **raised()),
        sent(*["GET /status/503,200?retry_after=soon"] * 2, returned=WHY),
    ),
    "413 with Retry-After": Call(
        lambda at: client(at).read("status/413,200?retry_after=1"),
        "Statuses outside `retry_status_codes`",
        sent(*["GET /status/413,200?retry_after=1"] * 2, returned=WHY, waited=[1]),
        sent("GET /status/413,200?retry_after=1", **raised(), waited=[]),
    ),
    "500 of create": Call(
        lambda at: client(at).create("status/500,200", {"a": 1}),
        "Repeated creates and updates",
        sent(*["POST /status/500,200"] * 2, headers=CREATE, content=A_1, returned=WHY),
        sent("POST /status/500,200", headers=CREATE, content=A_1, **raised()),
    ),
    "504 of update": Call(
        lambda at: client(at).update("status/504,200", {"a": 1}),
        "Repeated creates and updates",
        sent(*["PATCH /status/504,200"] * 2, headers=CREATE, content=A_1, returned=WHY),
        sent("PATCH /status/504,200", headers=CREATE, content=A_1, **raised()),
    ),
    "connection lost at create": Call(
        lambda at: client(at, retries=1).create("lost", {}),
        "Repeated creates and updates",
        {"arrived": ["POST /lost"] * 2, "connections": 2},
        {"arrived": ["POST /lost"], "connections": 1},
    ),
    "connection lost in the answer to create": Call(
        lambda at: client(at, retries=1).create("short", {}),
        "Repeated creates and updates",
        {"arrived": ["POST /short"] * 2, "connections": 2},
        {"arrived": ["POST /short"], "connections": 1},
    ),
    "no answer in time to create": Call(
        lambda at: client(at, retries=1, timeout=TIMEOUT).create("slow", {}),
        "Repeated creates and updates",
        {"arrived": ["POST /slow"] * 2, "connections": 2},
        {"arrived": ["POST /slow"], "connections": 1},
    ),
    "connection lost at read": Call(lambda at: client(at, retries=2).read("lost")),
    "connection lost in the answer to read": Call(lambda at: client(at, retries=1).read("short")),
    "no answer in time to read": Call(lambda at: client(at, timeout=TIMEOUT, retries=1).read("slow")),
    "pauses": Call(pauses, "Pauses between attempts", value([True, True]), value([True, False])),
    "read and the log": Call(
        lambda at: told(at, "anything"), "Log messages", value(["INFO cruds.core"]), value([])
    ),
    "retry and the log": Call(
        lambda at: told(at, "lost"),
        "Log messages",
        value(["INFO cruds.core", "WARNING urllib3.connectionpool"]) | {"logged": ["urllib3 Retrying"]},
        value(["INFO cruds_core.transport"]) | {"logged": []},
    ),
    "secret in a query, and the log": Call(
        lambda at: client(at, retries=1).read("lost", {"key": SECRET}),
        "Queries in logs and errors",
        {"leaked": ["the error", "urllib3.connectionpool", "urllib3.util.retry"]},
        {"leaked": []},
    ),
    # --- redirects -------------------------------------------------------------------------------------
    "302": Call(lambda at: with_headers(at, ("X-A", "1"), auth="t").read("redirect/302?to=/anything")),
    "301 of delete": Call(lambda at: client(at).delete("redirect/301?to=/anything")),
    "302 of update": Call(lambda at: client(at).update("redirect/302?to=/anything", {"a": 1})),
    "303 of create": Call(lambda at: client(at).create("redirect/303?to=/anything", {"a": 1})),
    "303 of update": Call(lambda at: client(at).update("redirect/303?to=/anything", {"a": 1})),
    "307 of create": Call(lambda at: client(at).create("redirect/307?to=/anything", {"a": 1})),
    "308 of create with files": Call(lambda at: client(at).create("redirect/308?to=/a", None, files=FORM)),
    "302 of download": Call(lambda at: client(at).download("redirect/302?to=/new.txt", at.folder)),
    "four redirects": Call(lambda at: client(at).read("hops/4")),
    "301 of create": Call(
        lambda at: client(at).create("redirect/301?to=/anything", {"a": 1}),
        "301 and 302 in answer to a create",
        sent("POST /redirect/301?to=/anything", "POST /anything", headers=CREATE, content=A_1),
        sent("POST /redirect/301?to=/anything", "GET /anything")
        | {"headers": [[*CREATE], []], "content": [A_1, ""]},
    ),
    "302 of create": Call(
        lambda at: client(at).create("redirect/302?to=/anything", {"a": 1}),
        "301 and 302 in answer to a create",
        sent("POST /redirect/302?to=/anything", "POST /anything", headers=CREATE, content=A_1),
        sent("POST /redirect/302?to=/anything", "GET /anything")
        | {"headers": [[*CREATE], []], "content": [A_1, ""]},
    ),
    "five redirects": Call(
        lambda at: client(at).read("hops/5"),
        "The number of redirects",
        sent(*(f"GET /hops/{n}" for n in (5, 4, 3, 2, 1)), **raised()),
        sent(*(f"GET /hops/{n}" for n in (5, 4, 3, 2, 1, 0))),
    ),
    "twenty-one redirects": Call(
        lambda at: client(at).read("hops/21"),
        "The number of redirects",
        sent(*(f"GET /hops/{n}" for n in range(21, 16, -1)), **raised()),
        sent(*(f"GET /hops/{n}" for n in range(21, 0, -1)), **raised()),
    ),
    "twenty-one redirects without raise_status": Call(
        lambda at: client(at, raise_status=False).read("hops/21"),
        "The number of redirects",
        sent(*(f"GET /hops/{n}" for n in range(21, 16, -1)), **raised()),
        sent(*(f"GET /hops/{n}" for n in range(21, 0, -1)), **raised()),
    ),
    "302 with retries=0": Call(
        lambda at: client(at, retries=0).read("redirect/302?to=/anything"),
        "Redirects with `retries=0`",
        sent("GET /redirect/302?to=/anything", **raw("")),
        sent("GET /redirect/302?to=/anything", "GET /anything"),
    ),
    "302 to another origin": Call(
        lambda at: with_headers(at, ("X-Api-Key", "k"), auth="t").read(f"redirect/302?to={at.elsewhere}/x"),
        "Headers at another origin",
        {"headers": [["authorization: Bearer t", "x-api-key: k"], ["host: elsewhere", "x-api-key: k"]]},
        {"headers": [["authorization: Bearer t", "x-api-key: k"], ["host: elsewhere"]]},
    ),
    "307 of create to another origin": Call(
        lambda at: client(at).create(f"redirect/307?to={at.elsewhere}/x", {"a": 1}),
        "Content to another origin",
        sent("POST /redirect/307?to=http://elsewhere/x", "POST /x", content=A_1, connections=2)
        | {"headers": [[*CREATE], [*CREATE, "host: elsewhere"]]},
        sent("POST /redirect/307?to=http://elsewhere/x", headers=CREATE, content=A_1, **raised()),
    ),
    "307 of create to another origin without raise_status": Call(
        lambda at: client(at, raise_status=False).create(f"redirect/307?to={at.elsewhere}/x", {"a": 1}),
        "Content to another origin",
        sent("POST /redirect/307?to=http://elsewhere/x", "POST /x", content=A_1, connections=2)
        | {"headers": [[*CREATE], [*CREATE, "host: elsewhere"]]},
        sent("POST /redirect/307?to=http://elsewhere/x", headers=CREATE, content=A_1, **raised()),
    ),
    "302 from https to http": Call(
        lambda at: Client(at.tls, verify_ssl=False).read(f"redirect/302?to={at.url}/x"),
        "A redirect from https to http",
        sent("GET /redirect/302?to=http://server/x", "GET /x", connections=2)
        | {"headers": [["host: tls"], []]},
        sent("GET /redirect/302?to=http://server/x", headers=("host: tls",), **raised()),
    ),
    "302 to a path with the token": Call(
        lambda at: client(at, auth="bearer-token").read("redirect/302?to=/anything/bearer-token"),
        "A redirect to a path or host that says back the credentials",
        {"arrived": ["GET /redirect/302?to=/anything/bearer-token", "GET /anything/bearer-token"]}
        | value({"ok": True}),
        {"arrived": ["GET /redirect/302?to=/anything/bearer-token"], **raised()},
    ),
    # --- connections -----------------------------------------------------------------------------------
    "manager": Call(lambda at: client(at, manager=PoolManager()).create("anything", {})),
    "manager with headers": Call(
        lambda at: client(at, auth="t", manager=PoolManager(headers={"X-A": "1"})).read("anything")
    ),
    "manager with a Retry": Call(
        lambda at: client(at, retries=9, manager=PoolManager(retries=Retry(2, status_forcelist=[503]))).read(
            "status/503"
        )
    ),
    "manager with a Retry, and create": Call(
        lambda at: client(at, manager=PoolManager(retries=Retry(2, status_forcelist=[503]))).create(
            "status/503", {}
        )
    ),
    "manager with a number of retries": Call(
        lambda at: client(at, manager=PoolManager(retries=2)).read("lost")
    ),
    "manager with no retries": Call(lambda at: client(at, manager=PoolManager(retries=False)).read("lost")),
    "manager with a timeout": Call(
        lambda at: client(
            at, timeout=9, manager=PoolManager(timeout=Timeout(read=TIMEOUT), retries=False)
        ).read("slow")
    ),
    "manager without retries": Call(
        lambda at: client(at, retries=2, manager=PoolManager()).read("status/503"),
        "A `manager` without retries of its own",
        {"arrived": ["GET /status/503"]},
        {"arrived": ["GET /status/503"] * 3},
    ),
    "manager without a timeout": Call(
        lambda at: client(at, timeout=TIMEOUT, manager=PoolManager(retries=False)).read("slow"),
        "A `manager` without a timeout of its own",
        value({"ok": True}),
        raised(),
    ),
    "manager that is none": Call(
        lambda at: client(at, manager="pool").read("anything"),
        "A `manager` of another type",
        sent("GET /anything"),
        refused("TypeError"),
    ),
    "retries of another type": Call(
        lambda at: client(at, retries="3").read("anything"),
        "Other options of another type",
        sent("GET /anything"),
        refused("TypeError"),
    ),
    "verify_ssl of another type": Call(
        lambda at: client(at, verify_ssl=None).read("anything"),
        "Other options of another type",
        sent("GET /anything"),
        refused("TypeError"),
    ),
    "retry_status_codes that are none": Call(
        lambda at: client(at, retry_status_codes=[700]).read("anything"),
        "Other options of another type",
        sent("GET /anything"),
        refused("ValueError"),
    ),
    "proxy": Call(lambda at: through_proxy(at, "http://api.example.com/v1")),
    "proxy with a password": Call(
        lambda at: through_proxy(
            at, "http://api.example.com", proxy_headers=make_headers(proxy_basic_auth="p:w")
        )
    ),
    "proxy and TLS": Call(lambda at: through_proxy(at, "https://api.example.com")),
    "TLS": Call(
        twice,
        "Certificate authorities",
        refused("HTTPError"),
        sent("GET /anything", "GET /anything", headers=("host: tls",)),
    ),
    "TLS with authorities": Call(
        lambda at: twice(at, verify_ssl=os.environ["SSL_CERT_FILE"]),
        "Certificate authorities",
        refused("HTTPError"),
        sent("GET /anything", "GET /anything", headers=("host: tls",)),
    ),
    "TLS that ends without saying so": Call(
        lambda at: Client(at.tls, verify_ssl=False, retries=0).read("no-length"),
        "Content over TLS without a length",
        value({"ok": True}),
        raised(),
    ),
    "a size of a chunk that only Python reads": Call(
        lambda at: client(at, retries=0).read("odd-chunks"),
        "Chunks without the empty line at their end, sizes such as `+2` or `0x2`",
        value({"ok": True}),
        raised(),
    ),
    "answer in gzip that is cut": Call(
        lambda at: client(at, retries=0).read("cut-gzip"),
        "Compressed content that is cut, or broken in a later part",
        value([1]),
        raised(),
    ),
    "answer in three codings": Call(
        lambda at: client(at, retries=0).read("three-codings"),
        "Content in three codings or more",
        value([1]),
        raised(),
    ),
    "TLS without verification": Call(
        lambda at: twice(at, verify_ssl=False),
        "Warnings with `verify_ssl=False`",
        {"warned": ["InsecureRequestWarning"] * 2},
        {"warned": ["InsecureRequestWarning"]},
    ),
    "threads": Call(
        in_threads,
        "A Client in several threads",
        {"connections": 3, "logged": ["urllib3 Connection"] * 2},
        {"connections": 2, "logged": []},
    ),
    "fork": Call(in_a_child, "A Client in a forked process", {"connections": 1}, {"connections": 2}),
    "pickle": Call(
        lambda at: pickle.loads(pickle.dumps(Client(at.url))).read("anything"),  # noqa: S301 - it is our own
        "Pickling a Client",
        refused("TypeError"),
        sent("GET /anything"),
    ),
    # --- downloads -------------------------------------------------------------------------------------
    "download": Call(lambda at: client(at).download("files/a%20b.txt", at.folder)),
    "download into the current folder": Call(lambda at: client(at).download("here.txt")),
    "download with a name": Call(lambda at: disposed(at, "attachment; filename=n.txt", "other.txt")),
    "download with an encoded name": Call(
        lambda at: disposed(at, "attachment; filename*=UTF-8''%e2%82%ac.txt")
    ),
    "download whose name climbs": Call(lambda at: disposed(at, 'attachment; filename="../../n.txt"')),
    "download named by the caller": Call(lambda at: client(at).download("x/", at.folder, "own.txt")),
    "download without a name": Call(lambda at: client(at).download("", at.folder)),
    "download over a file": Call(over_a_file),
    "download into no folder": Call(lambda at: client(at).download("a.txt", at.folder / "missing")),
    "download of 404": Call(lambda at: client(at).download("status/404", at.folder)),
    "download of 204": Call(lambda at: client(at).download("status/204", at.folder)),
    "download of 304": Call(
        lambda at: client(at).download("status/304", at.folder),
        "A download with a status other than 2xx",
        {"returned": {"file": "304"}, "files": {"304": ""}},
        {**raised(), "files": {}},
    ),
    "download of 404 without raise_status": Call(
        lambda at: client(at, raise_status=False).download("status/404", at.folder),
        "A download with a status other than 2xx",
        {"returned": {"file": "404"}, "files": {"404": '{"why": "because"}'}},
        {**raised(), "files": {}},
    ),
    "download of a hidden file": Call(
        lambda at: client(at).download("files/.bashrc", at.folder),
        "Names of downloaded files",
        {"returned": {"file": ".bashrc"}, "files": {".bashrc": '{"ok": true}'}},
        {"returned": {"file": "bashrc"}, "files": {"bashrc": '{"ok": true}'}},
    ),
    "download with a colon in its name": Call(
        lambda at: client(at).download("files/a%3Ab.txt", at.folder),
        "Names of downloaded files",
        {"returned": {"file": "a:b.txt"}, "files": {"a:b.txt": '{"ok": true}'}},
        {"returned": {"file": "a_b.txt"}, "files": {"a_b.txt": '{"ok": true}'}},
    ),
    "download that breaks off": Call(
        lambda at: client(at, retries=1).download("short", at.folder),
        "A download that breaks off",
        {"arrived": ["GET /short"], "connections": 1},
        {"arrived": ["GET /short"] * 2, "connections": 2},
    ),
    # --- OAuth 2.0 -------------------------------------------------------------------------------------
    "OAuth2": Call(lambda at: tokens(oauth2(at))),
    "OAuth2 without an encryption_key": Call(lambda at: oauth2(at, encryption_key=None).access_token()),
    "OAuth2 by name": Call(
        lambda at: OAuth2(
            url=at.url + "/token/one",
            client_id="id",
            client_secret="pw",
            scope="read write",
            authorization_details=None,
            username=None,
            password=None,
            encryption_key="key",
            authorization_url=None,
            redirect_uri=None,
            state_length=32,
        ).access_token()
    ),
    "OAuth2 by position": Call(
        lambda at: OAuth2(at.url + "/token/one", "id", "pw", "read", None, "ann", "p w", "key").access_token()
    ),
    "OAuth2 by position, for sign-ins": Call(
        lambda at: asked_for(
            OAuth2(
                at.url + "/token/one",
                "id",
                "pw",
                "read",
                None,
                None,
                None,
                "key",
                at.url + "/authorize",
                CALLBACK,
                16,
            ).get_authorization_url()
        )
    ),
    "OAuth2 with a password": Call(lambda at: tokens(ann(at))),
    "OAuth2 with a password beyond ASCII": Call(
        lambda at: oauth2(at, username="j\u00f6rg", password="&=+ \u2603").access_token()
    ),
    "OAuth2 with a password that is empty": Call(
        lambda at: oauth2(at, username="ann", password="").access_token()
    ),
    "OAuth2 with a query in its url": Call(lambda at: oauth2(at, "token/one?tenant=a%20b").access_token()),
    "OAuth2 with scopes": Call(
        lambda at: oauth2(at, scope="read write:x https://a.example.com/b").access_token()
    ),
    "OAuth2 with an authorization_url alone": Call(
        lambda at: oauth2(at, authorization_url=at.url + "/authorize").access_token(),
        "An `OAuth2` made for sign-ins",
        granted(),
        refused("OAuthAccessTokenError"),
    ),
    "OAuth2 with a token that has no end": Call(lambda at: tokens(oauth2(at), 10**6)),
    "OAuth2 with a token that lives": Call(
        lambda at: tokens(oauth2(at, "token/one,two?expires_in=3600"), 60, 3000)
    ),
    "OAuth2 with a token that has expired": Call(
        lambda at: tokens(oauth2(at, "token/one,two?expires_in=300,300"), 400)
    ),
    "OAuth2 with a token that is about to expire": Call(
        lambda at: oauth_renewed(oauth2(at, "token/one,two?expires_in=300,300"), 280)
    ),
    "OAuth2 before its first token": Call(lambda at: oauth2(at).is_valid()),
    "OAuth2 that is refused": Call(lambda at: oauth2(at, "token/one?status=400").access_token()),
    "OAuth2 that is refused with 401": Call(lambda at: ann(at, "token/one?status=401").access_token()),
    "OAuth2 that is refused, and then not": Call(
        lambda at: [then_valid(scheme := oauth2(at, "token/one,two?status=400,200")), scheme.access_token()]
    ),
    "OAuth2 of a Client": Call(lambda at: client(at, auth=oauth2(at)).create("anything", {"a": 1})),
    "OAuth2 of a Client, with a password": Call(
        lambda at: client(at, auth=ann(at)).read("private?token=one")
    ),
    "OAuth2 of a Client, refused": Call(
        lambda at: client(at, auth=oauth2(at, "token/one?status=400")).read("anything")
    ),
    "OAuth2 of a Client, with a download": Call(
        lambda at: client(at, auth=oauth2(at)).download("a.txt", at.folder)
    ),
    "OAuth2 of a Client, revoked": Call(
        lambda at: client(at, auth=oauth2(at, "token/one,two")).read("private", {"token": "two"}),
        "A 401 to a scheme's token",
        {**raised(), "arrived": ["POST /token/one,two", "GET /private?token=two"]}
        | {"headers": [TOKEN_REQUEST, ["authorization: Bearer one"]]},
        {"returned": {"value": {"ok": True}}}
        | {"arrived": ["POST /token/one,two", "GET /private?token=two"] * 2}
        | {"headers": [TOKEN_REQUEST, ["authorization: Bearer one"], ["authorization: Bearer two"]]},
    ),
    "OAuth2 of a Client, after a sign-in": Call(
        lambda at: client(at, auth=signed_in(at)).read("anything"),
        "A scheme that holds a token already",
        {"headers": [[BASIC], []]},
        {"headers": [[BASIC], ["authorization: Bearer one"]]},
    ),
    "OAuth2 over TLS": Call(
        lambda at: OAuth2(at.tls + "/token/one", "id", "pw", "read").access_token(),
        "Certificate authorities",
        refused("HTTPError"),
        {"returned": {"value": "one"}, "arrived": ["POST /token/one"]}
        | {"headers": [[*TOKEN_REQUEST, "host: tls"]], "content": [CREDENTIALS], "connections": 0},
    ),
    "OAuth2 and its headers": Call(
        lambda at: oauth2(at).access_token(),
        "Headers of a token request",
        {"headers": [[*TOKEN_REQUEST, "content-type: application/x-www-form-urlencoded; charset=utf-8"]]},
        {
            "headers": [
                [
                    "accept: application/json",
                    BASIC,
                    "connection: close",
                    *TOKEN_REQUEST[1:],
                    "content-type: application/x-www-form-urlencoded",
                ]
            ]
        },
    ),
    "OAuth2 over plain http": Call(
        lambda at: OAuth2("http://auth.example.com/token", "id", "pw", "read").is_valid(),
        "Plain http to the authorization server",
        value(False),
        raised("ValueError"),
    ),
    "OAuth2 with a url without a scheme": Call(
        lambda at: OAuth2(at.url.removeprefix("http://") + "/token/one", "id", "pw", "read").access_token(),
        "Plain http to the authorization server",
        {**granted(), "warned": ["FutureWarning"]},
        refused("ValueError", warned=[]),
    ),
    "OAuth2 with an authorization_url over plain http": Call(
        lambda at: asked_for(web(at, authorization_url="http://auth.example.com/").get_authorization_url()),
        "Plain http to the authorization server",
        value({**ASKED, "at": "/"}),
        raised("ValueError"),
    ),
    "OAuth2 with credentials in its url": Call(
        lambda at: OAuth2(
            at.url.replace("//", "//ann:pw@") + "/token/one", "id", "pw", "read"
        ).access_token(),
        "Credentials or a fragment in `url`",
        granted(),
        refused("ValueError"),
    ),
    "OAuth2 with a fragment in its url": Call(
        lambda at: oauth2(at, "token/one#part").access_token(),
        "Credentials or a fragment in `url`",
        granted(),
        refused("ValueError"),
    ),
    "OAuth2 with a secret that has reserved characters": Call(
        lambda at: oauth2(at, client_id="a/b c", client_secret="p:w+%\u00e4").access_token(),
        "Client id and secret in Basic",
        {"headers": [["authorization: Basic YS9iIGM6cDp3KyXk", *TOKEN_REQUEST[1:]]]},
        {"headers": [["authorization: Basic YSUyRmIrYzpwJTNBdyUyQiUyNSVDMyVBNA==", *TOKEN_REQUEST[1:]]]},
    ),
    "OAuth2 with a secret beyond Latin-1": Call(
        lambda at: oauth2(at, client_secret="\u2603").access_token(),
        "Client id and secret in Basic",
        refused("UnicodeEncodeError"),
        granted(basic="aWQ6JUUyJTk4JTgz"),
    ),
    "OAuth2 with a secret that is empty": Call(
        lambda at: oauth2(at, client_secret="").access_token(),
        "A client without a secret",
        granted(basic="aWQ6"),
        refused("ValueError"),
    ),
    "OAuth2 with a secret that is None": Call(
        lambda at: oauth2(at, client_secret=None).access_token(),
        "A client without a secret",
        granted(basic="aWQ6Tm9uZQ=="),
        refused("ValueError"),
    ),
    "OAuth2 with a password and no secret": Call(
        lambda at: ann(at, client_secret="").access_token(),
        "A client without a secret",
        granted(PASSWORD, "aWQ6"),
        {**granted(f"client_id=id&{PASSWORD}"), "headers": [["content-length: 69"]]},
    ),
    "OAuth2 with a scope that is empty": Call(
        lambda at: oauth2(at, scope="").access_token(),
        "An empty scope",
        granted("grant_type=client_credentials&scope="),
        granted("grant_type=client_credentials"),
    ),
    "OAuth2 with a scope that is None": Call(
        lambda at: oauth2(at, scope=None).access_token(),
        "An empty scope",
        granted("grant_type=client_credentials&scope=None"),
        granted("grant_type=client_credentials"),
    ),
    "OAuth2 with an empty scope, signing in": Call(
        lambda at: asked_for(web(at, scope="").get_authorization_url()),
        "An empty scope",
        value({**ASKED, "scope": ""}),
        value({name: text for name, text in ASKED.items() if name != "scope"}),
    ),
    "OAuth2 with scopes in a list": Call(
        lambda at: oauth2(at, scope=["read", "write"]).access_token(),
        "Other scopes",
        granted("grant_type=client_credentials&scope=%5B%27read%27%2C+%27write%27%5D"),
        granted("grant_type=client_credentials&scope=read+write"),
    ),
    "OAuth2 with scopes in lines": Call(
        lambda at: oauth2(at, scope=" read\n write").access_token(),
        "Other scopes",
        granted("grant_type=client_credentials&scope=+read%0A+write"),
        granted("grant_type=client_credentials&scope=read+write"),
    ),
    "OAuth2 with a scope beyond ASCII": Call(
        lambda at: oauth2(at, scope="\u00e4").access_token(),
        "Other scopes",
        granted("grant_type=client_credentials&scope=%C3%A4"),
        refused("ValueError"),
    ),
    "OAuth2 with a client_id that is a number": Call(
        lambda at: oauth2(at, client_id=5).access_token(),
        "Other arguments of `OAuth2`",
        granted(basic="NTpwdw=="),
        refused("TypeError"),
    ),
    "OAuth2 with a password that is a number": Call(
        lambda at: oauth2(at, username="ann", password=5).access_token(),
        "Other arguments of `OAuth2`",
        granted("grant_type=password&password=5&scope=read&username=ann"),
        refused("TypeError"),
    ),
    "OAuth2 with a client_id that is empty": Call(
        lambda at: oauth2(at, client_id="").access_token(),
        "Other arguments of `OAuth2`",
        granted(basic="OnB3"),
        refused("ValueError"),
    ),
    "OAuth2 with an encryption_key that is empty": Call(
        lambda at: oauth2(at, encryption_key="").access_token(),
        "Other arguments of `OAuth2`",
        granted(),
        refused("ValueError"),
    ),
    "OAuth2 with a redirect_uri that is a path": Call(
        lambda at: asked_for(web(at, redirect_uri="/callback").get_authorization_url()),
        "Other arguments of `OAuth2`",
        value({**ASKED, "redirect_uri": "/callback"}),
        raised("ValueError"),
    ),
    "OAuth2 with a short state": Call(
        lambda at: asked_for(web(at, state_length=15).get_authorization_url()),
        "A `state_length` below 16",
        value({**ASKED, "state": 20}),
        raised("ValueError"),
    ),
    "OAuth2 with a state of sixteen": Call(
        lambda at: asked_for(web(at, state_length=16).get_authorization_url())
    ),
    "OAuth2 with a username alone": Call(
        lambda at: oauth2(at, username="ann").access_token(),
        "A username without a password",
        granted(),
        refused("ValueError"),
    ),
    "OAuth2 with a username and a redirect_uri": Call(
        lambda at: web(at, username="ann", password="pw").access_token(),
        "A username, and parameters of a sign-in",
        granted("grant_type=password&password=pw&scope=read&username=ann"),
        refused("ValueError"),
    ),
    "OAuth2 with details": Call(
        lambda at: oauth2(at, authorization_details=[{"type": "a", "actions": ["b"]}]).access_token(),
        "`authorization_details`",
        detailed('[{"type": "a", "actions": ["b"]}]'),
        detailed('[{"type":"a","actions":["b"]}]'),
    ),
    "OAuth2 with details, signing in": Call(
        lambda at: asked_for(web(at, authorization_details=[{"type": "a", "n": 1}]).get_authorization_url()),
        "`authorization_details`",
        value({**ASKED, "authorization_details": '[{"type": "a", "n": 1}]'}),
        value({**ASKED, "authorization_details": '[{"type":"a","n":1}]'}),
    ),
    "OAuth2 with plain details": Call(
        lambda at: oauth2(at, authorization_details='[{"type":"a"}]').access_token()
    ),
    "OAuth2 with details in an object": Call(
        lambda at: oauth2(at, authorization_details=A_TYPE).access_token(),
        "`authorization_details`",
        detailed(str(A_TYPE)),
        detailed('[{"type":"a"}]'),
    ),
    "OAuth2 with details without a type": Call(
        lambda at: oauth2(at, authorization_details=[{"a": 1}]).access_token(),
        "`authorization_details`",
        detailed('[{"a": 1}]'),
        refused("ValueError"),
    ),
    "OAuth2 with details that are no JSON": Call(
        lambda at: oauth2(at, authorization_details="a").access_token(),
        "`authorization_details`",
        detailed("a"),
        refused("ValueError"),
    ),
    "OAuth2 that is set": Call(
        lambda at: altered_scheme(oauth2(at), scope="write"),
        "Setting attributes of `OAuth2`",
        granted("grant_type=client_credentials&scope=write"),
        refused("AttributeError"),
    ),
    "OAuth2 whose secret is read": Call(
        lambda at: oauth2(at).client_secret,
        "Reading attributes of `OAuth2`",
        value("pw"),
        raised("AttributeError"),
    ),
    "OAuth2 whose redirect_uri is read": Call(
        lambda at: web(at).redirect_uri,
        "Reading attributes of `OAuth2`",
        value(CALLBACK),
        raised("AttributeError"),
    ),
    "OAuth2 whose client_id is read": Call(
        lambda at: [oauth2(at).client_id, oauth2(at).scope, oauth2(at).url]
    ),
    "OAuth2 that is cleared": Call(
        cleared,
        "`clear_state`",
        {**value("two"), "arrived": ["POST /token/one,two"] * 2},
        {**raised("AttributeError"), "arrived": ["POST /token/one,two"]},
    ),
    "OAuth2 and its timeout": Call(
        lambda at: timeouts(oauth2(at).access_token),
        "No answer of the token endpoint",
        value([None]),
        value([10.0]),
    ),
    "OAuth2 in two threads": Call(
        asked_in_threads,
        "An `OAuth2` in several threads",
        {"arrived": ["POST /token/one,two?late=1"] * 2, "logged": ["urllib3 Connection"]},
        {"arrived": ["POST /token/one,two?late=1"], "logged": []},
    ),
    "sign-in": Call(lambda at: exchanged(at)),
    "sign-in with an end": Call(lambda at: exchanged(at, "token/one?expires_in=3600&refresh_token=r")),
    "sign-in and its URL": Call(lambda at: asked_for(web(at).get_authorization_url())),
    "sign-in and its URL, with more": Call(
        lambda at: asked_for(web(at).get_authorization_url({"prompt": "login", "login_hint": "a b&\u00e4"}))
    ),
    "sign-in and its URL, with more by name": Call(
        lambda at: asked_for(web(at).get_authorization_url(additional_params={"prompt": "login"}))
    ),
    "sign-in with a code that has reserved characters": Call(
        lambda at: signed_in(at, code="c/1 &+2").access_token()
    ),
    "sign-in and its states": Call(
        lambda at: (
            state_of((scheme := web(at)).get_authorization_url()) == state_of(scheme.get_authorization_url())
        )
    ),
    "sign-in by name": Call(lambda at: exchange(web(at))),
    "sign-in, and what came back": Call(
        lambda at: came_back(web(at), code="a+b/c &", state="s", iss="x", more="")
    ),
    "sign-in, and PKCE": Call(
        lambda at: with_pkce(web(at)),
        "PKCE",
        value(sorted({*ASKED} - {"at"}))
        | {"headers": [[BASIC, f"content-length: {len(CODE)}"]], "content": [CODE]},
        value(sorted({*ASKED, "code_challenge", "code_challenge_method"} - {"at"}))
        | {
            "headers": [[BASIC, f"content-length: {len(CODE) + 79}"]],
            "content": [CODE.replace("&grant", "&code_verifier=RANDOM&grant")],
        },
    ),
    "sign-in with another scope": Call(
        lambda at: asked_for(web(at).get_authorization_url({"scope": "write", "max_age": 5}))
    ),
    "sign-in with a state of the caller's own": Call(
        lambda at: asked_for(web(at).get_authorization_url({"state": "x"})),
        "`additional_params` that `OAuth2` sets",
        value({**ASKED, "state": 1}),
        raised("ValueError"),
    ),
    "sign-in with another client_id": Call(
        lambda at: asked_for(web(at).get_authorization_url({"client_id": "other"})),
        "`additional_params` that `OAuth2` sets",
        value({**ASKED, "client_id": "other"}),
        raised("ValueError"),
    ),
    "sign-in with a parameter that is None": Call(
        lambda at: asked_for(web(at).get_authorization_url({"prompt": None})),
        "Other arguments of `OAuth2`",
        value({**ASKED, "prompt": "None"}),
        raised("TypeError"),
    ),
    "sign-in with a query in authorization_url": Call(
        lambda at: asked_for(web(at, authorization_url=at.url + "/authorize?a=1").get_authorization_url()),
        "A query in `authorization_url`",
        value(
            {
                **{name: text for name, text in ASKED.items() if name != "response_type"},
                "a": "1?response_type=code",
            }
        ),
        value({**ASKED, "a": "1"}),
    ),
    "sign-in without authorization_url": Call(
        lambda at: web(at, authorization_url=None).get_authorization_url(),
        "Errors of a sign-in",
        raised("RuntimeError"),
        raised("OAuthAccessTokenError and RuntimeError"),
    ),
    "sign-in without redirect_uri": Call(
        lambda at: web(at, redirect_uri=None).get_authorization_url(),
        "Errors of a sign-in",
        raised("RuntimeError"),
        raised("OAuthAccessTokenError and RuntimeError"),
    ),
    "sign-in that is denied": Call(
        lambda at: came_back(web(at), error="access_denied", error_description="no", state="s"),
        "Errors of a sign-in",
        raised("OAuthAccessTokenError"),
        raised("OAuthAccessTokenError and RuntimeError"),
    ),
    "sign-in without a code": Call(
        lambda at: came_back(web(at), state="s"),
        "Errors of a sign-in",
        raised("RuntimeError"),
        raised("OAuthAccessTokenError and RuntimeError"),
    ),
    "sign-in with a code that is empty": Call(
        lambda at: came_back(web(at), code="", state="s"),
        "Errors of a sign-in",
        raised("RuntimeError"),
        raised("OAuthAccessTokenError and RuntimeError"),
    ),
    "sign-in without a state": Call(
        lambda at: came_back(web(at), code="a"),
        "Errors of a sign-in",
        raised("RuntimeError"),
        raised("OAuthAccessTokenError and RuntimeError"),
    ),
    "sign-in with a wrong state": Call(
        lambda at: web(at).exchange_code_for_token("a", "s"),
        "Errors of a sign-in",
        {**raised("OAuthStateError"), "logged": ["cruds"]},
        {**raised("OAuthStateError and RuntimeError"), "logged": []},
    ),
    "sign-in with a wrong state, once begun": Call(
        lambda at: [(scheme := web(at)).get_authorization_url(), scheme.exchange_code_for_token("a", "s")],
        "Errors of a sign-in",
        {**raised("OAuthStateError"), "logged": ["cruds"]},
        {**raised("OAuthStateError and RuntimeError"), "logged": []},
    ),
    "sign-in whose state is used twice": Call(
        lambda at: state_used(at, ""),
        "Errors of a sign-in",
        {**raised("OAuthStateError"), "logged": ["cruds"]},
        {**raised("OAuthStateError and RuntimeError"), "logged": []},
    ),
    "sign-in after one with a wrong state": Call(
        lambda at: state_used(at, "wrong", "s"),
        "Errors of a sign-in",
        {"logged": ["cruds"] * 2},
        {"logged": []},
    ),
    "sign-in whose code is refused": Call(lambda at: exchanged(at, "token/one?status=400")),
    "sign-in that brings a code twice": Call(
        lambda at: web(at).parse_authorization_response(CALLBACK + "?code=a&code=b&state=s"),
        "Odd redirect URLs",
        value(["a", "s"]),
        raised("OAuthAccessTokenError and RuntimeError"),
    ),
    "sign-in that brings a token": Call(
        lambda at: web(at).parse_authorization_response(CALLBACK + "?code=a&state=s#access_token=x"),
        "Odd redirect URLs",
        value(["a", "s"]),
        raised("OAuthAccessTokenError and RuntimeError"),
    ),
    "sign-in of two": Call(
        two_sign_ins,
        "Several sign-ins on one `OAuth2`",
        refused("OAuthStateError", logged=["cruds"]),
        {**granted(CODE), "headers": [[BASIC]], "logged": []},
    ),
    "sign-in that takes eleven minutes": Call(
        slow_sign_in,
        "A sign-in of more than ten minutes",
        {**granted(CODE), "headers": [[BASIC]]},
        refused("OAuthStateError and RuntimeError"),
    ),
    "sign-in that nobody has begun": Call(
        lambda at: web(at).access_token(),
        "An `OAuth2` made for sign-ins",
        granted(),
        refused("OAuthAccessTokenError"),
    ),
    "sign-in whose token has expired": Call(
        lambda at: oauth_renewed(signed_in(at, "token/one,two?expires_in=300,300"), 400),
        "An `OAuth2` made for sign-ins",
        value(["one", "two"])
        | {
            "arrived": ["POST /token/one,two?expires_in=300,300"] * 2,
            "headers": [[BASIC], TOKEN_REQUEST],
            "content": [CODE, CREDENTIALS],
        },
        raised("OAuthAccessTokenError")
        | {"arrived": ["POST /token/one,two?expires_in=300,300"], "headers": [[BASIC]], "content": [CODE]},
    ),
    "refresh": Call(
        lambda at: oauth_renewed(ann(at, "token/one,two?expires_in=300,300&refresh_token=r,s"), 400),
        "The client in a refresh",
        refreshed(PASSWORD_REQUEST),
        refreshed(PASSWORD_REQUEST, BASIC),
    ),
    "refresh after a sign-in": Call(
        lambda at: oauth_renewed(signed_in(at, "token/one,two?expires_in=300,300&refresh_token=r,s"), 400),
        "The client in a refresh",
        refreshed([BASIC]),
        refreshed([BASIC], BASIC),
    ),
    "refresh by a Client": Call(
        renewed_by_client,
        "The client in a refresh",
        {
            "headers": [
                PASSWORD_REQUEST,
                ["authorization: Bearer one"],
                ["content-length: 40"],
                ["authorization: Bearer two"],
            ]
        },
        {
            "headers": [
                PASSWORD_REQUEST,
                ["authorization: Bearer one"],
                TOKEN_REQUEST,
                ["authorization: Bearer two"],
            ]
        },
    ),
    "refresh without a new refresh token": Call(
        lambda at: tokens(ann(at, "token/one,two,three?expires_in=300,300,300&refresh_token=r"), 400, 800),
        "A refresh without a new refresh token",
        refreshed(PASSWORD_REQUEST) | {"content": [PASSWORD, "grant_type=refresh_token&refresh_token=r"]},
        refreshed(PASSWORD_REQUEST, BASIC)
        | {"content": [PASSWORD, "grant_type=refresh_token&refresh_token=r"]},
    ),
    "refresh that is refused": Call(
        lambda at: oauth_renewed(ann(at, f"token/{REFUSED}"), 400),
        "A refresh token that is refused",
        raised("OAuthAccessTokenError")
        | refreshed(PASSWORD_REQUEST)
        | {"arrived": [f"POST /token/{REFUSED}"] * 2},
        value(["one", "two"])
        | refreshed(PASSWORD_REQUEST, BASIC)
        | {"arrived": [f"POST /token/{REFUSED}"] * 3},
    ),
    "refresh that is refused, after a sign-in": Call(
        lambda at: oauth_renewed(
            signed_in(at, "token/one?expires_in=300&refresh_token=r&status=200,400"), 400
        ),
        "The client in a refresh",
        refreshed([BASIC]),
        refreshed([BASIC], BASIC),
    ),
    "refresh token with client credentials": Call(
        lambda at: oauth_renewed(oauth2(at, "token/one,two?expires_in=300,300&refresh_token=r"), 400),
        "A refresh token with client credentials",
        refreshed(TOKEN_REQUEST) | {"content": [CREDENTIALS, "grant_type=refresh_token&refresh_token=r"]},
        {"headers": [TOKEN_REQUEST], "content": [CREDENTIALS]},
    ),
    "token of twenty seconds": Call(
        lambda at: tokens(oauth2(at, "token/one?expires_in=20")),
        "The last 30 seconds of a token",
        value(["", False]),
        value(["one", True]),
    ),
    "token of twenty seconds, after a sign-in": Call(
        lambda at: exchanged(at, "token/one,two?expires_in=20,20"),
        "The last 30 seconds of a token",
        value(["one", False, ""])
        | {
            "arrived": ["POST /token/one,two?expires_in=20,20"] * 2,
            "headers": [[BASIC], TOKEN_REQUEST],
            "content": [CODE, CREDENTIALS],
        },
        value(["one", True, "one"])
        | {"arrived": ["POST /token/one,two?expires_in=20,20"], "headers": [[BASIC]], "content": [CODE]},
    ),
    "token in its last seconds": Call(
        lambda at: tokens_valid(oauth2(at, "token/one?expires_in=300"), 280),
        "The last 30 seconds of a token",
        value([False]),
        value([True]),
    ),
    "token in its last seconds, and no other": Call(
        lambda at: oauth_renewed(oauth2(at, "token/one?expires_in=300&status=200,503"), 280),
        "The last 30 seconds of a token",
        {**raised(), "logged": []},
        {**value(["one", "one"]), "logged": ["cruds"]},
    ),
    "token type in small letters": Call(
        lambda at: oauth2(at, "token/one?token_type=bearer").access_token(),
        "Token types",
        raised("RuntimeError"),
        value("one"),
    ),
    "token type in small letters, after a sign-in": Call(
        lambda at: exchanged(at, "token/one?token_type=bearer"),
        "Token types",
        raised("RuntimeError"),
        value(["one", True, "one"]),
    ),
    "token type that is missing": Call(
        lambda at: oauth2(at, bad_answer(at, '{"access_token": "one"}')).access_token(),
        "Token types",
        raised("RuntimeError"),
        value("one"),
    ),
    "token with its lifetime as text": Call(
        lambda at: oauth2(
            at, bad_answer(at, '{"access_token": "one", "token_type": "Bearer", "expires_in": "3600"}')
        ).access_token(),
        "Answers in another form",
        raised("TypeError"),
        value("one"),
    ),
    "token without a lifetime": Call(
        lambda at: oauth2(
            at, bad_answer(at, '{"access_token": "one", "token_type": "Bearer", "expires_in": null}')
        ).access_token(),
        "Answers in another form",
        raised("TypeError"),
        value("one"),
    ),
    "token in a form": Call(
        lambda at: oauth2(
            at, bad_answer(at, "access_token=one&token_type=Bearer", type="application/x-www-form-urlencoded")
        ).access_token(),
        "Answers in another form",
        raised("JSONDecodeError"),
        value("one"),
    ),
    "token that is none": Call(
        lambda at: oauth2(at, bad_answer(at, "{}")).access_token(),
        "An answer that is no token",
        raised("RuntimeError"),
        raised("OAuthAccessTokenError"),
    ),
    "token that is none, and then": Call(
        lambda at: then_valid(oauth2(at, bad_answer(at, "{}"))),
        "An answer that is no token",
        raised("RuntimeError"),
        value(False),
    ),
    "token that is none, after a sign-in": Call(
        lambda at: exchange(web(at, bad_answer(at, "{}"))),
        "An answer that is no token",
        value(""),
        raised("OAuthAccessTokenError"),
    ),
    "token of another type": Call(
        lambda at: oauth2(at, "token/one?token_type=mac").access_token(),
        "An answer that is no token",
        raised("RuntimeError"),
        raised("OAuthAccessTokenError"),
    ),
    "token that is an error": Call(
        lambda at: oauth2(at, bad_answer(at, '{"error": "invalid_client"}')).access_token(),
        "An answer that is no token",
        raised("RuntimeError"),
        raised("OAuthAccessTokenError"),
    ),
    "token that is HTML": Call(
        lambda at: oauth2(at, bad_answer(at, "<html>", type="text/html")).access_token(),
        "An answer that is no token",
        raised("JSONDecodeError"),
        raised("OAuthAccessTokenError"),
    ),
    "token that is a list": Call(
        lambda at: oauth2(at, bad_answer(at, "[]")).access_token(),
        "An answer that is no token",
        raised("TypeError"),
        raised("OAuthAccessTokenError"),
    ),
    "refusal in HTML": Call(
        lambda at: oauth2(at, bad_answer(at, "<html>", type="text/html", status=403)).access_token(),
        "An answer that is no token",
        raised("JSONDecodeError"),
        raised("OAuthAccessTokenError"),
    ),
    "refusal without a description": Call(
        lambda at: oauth2(at, bad_answer(at, '{"error": "invalid_client"}', status=401)).access_token()
    ),
    "refusal and its error": Call(
        lambda at: refusal(oauth2(at, "token/one?status=400").access_token),
        "What an error of `OAuth2` carries",
        value({"args": ["no"], "error": None, "error_description": None, "status": None}),
        value(
            {
                "args": [
                    "the client_credentials grant: POST http://server/token/one: "
                    "400 Bad Request: invalid_grant: no"
                ],
                "error": "invalid_grant",
                "error_description": "no",
                "status": 400,
            }
        ),
    ),
    "token endpoint with 500": Call(
        lambda at: oauth2(at, "token/one?status=500").access_token(),
        "A token endpoint that fails",
        raised(),
        raised("OAuthAccessTokenError"),
    ),
    "token endpoint with 500, of a Client": Call(
        lambda at: client(at, auth=oauth2(at, "token/one?status=500")).read("anything"),
        "A token endpoint that fails",
        raised(),
        raised("OAuthAccessTokenError"),
    ),
    "token endpoint with 503 after a sign-in": Call(
        lambda at: exchanged(at, "token/one?status=503"),
        "A token endpoint that fails",
        raised(),
        raised("OAuthAccessTokenError"),
    ),
    "token endpoint with 302": Call(
        lambda at: oauth2(at, "redirect/302?to=/token/one").access_token(),
        "A token endpoint that fails",
        raised(),
        raised("OAuthAccessTokenError"),
    ),
    "token endpoint that hangs up": Call(
        lambda at: oauth2(at, "lost").access_token(),
        "A token endpoint that fails",
        raised(),
        raised("OAuthAccessTokenError"),
    ),
    "token endpoint where nobody is": Call(
        lambda at: OAuth2(at.closed + "/token", "id", "pw", "read").access_token(),
        "A token endpoint that fails",
        raised(),
        raised("OAuthAccessTokenError"),
    ),
    "state, and the log": Call(
        told_state,
        "Secrets in logs and errors of `OAuth2`",
        {"leaked": ["cruds.auth"]},
        {"leaked": []},
    ),
    "secret in the answer of the token endpoint": Call(
        lambda at: oauth2(
            at, bad_answer(at, SECRET, type="text/plain", status=500), client_secret=SECRET
        ).access_token(),
        "Secrets in logs and errors of `OAuth2`",
        {**raised(), "leaked": ["the error", "urllib3.connectionpool"]},
        {**raised("OAuthAccessTokenError"), "leaked": []},
    ),
    "secret in a refusal": Call(
        lambda at: oauth2(
            at,
            bad_answer(at, '{"error": "a", "error_description": "not hunter2"}', status=400),
            client_secret=SECRET,
        ).access_token(),
        "Secrets in logs and errors of `OAuth2`",
        {"leaked": ["the error", "urllib3.connectionpool"]},
        {"leaked": []},
    ),
}
