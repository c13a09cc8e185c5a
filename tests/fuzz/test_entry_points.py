"""Every public entry point is given arguments of every type: it takes them, or names what is wrong."""

import inspect
import io
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cruds.demo.api import DemoAPI
from cruds_auth_basic import ApiKey, Basic, Digest
from cruds_auth_oauth2 import FileStore, KeyringStore, OAuth2, RedisStore
from cruds_core import BearerToken, Client, CrudsError, Headers, Plugins, Request, Secret

#: Examples for each entry point: more with CRUDS_TEST_EXAMPLES, as `make fuzz` has it.
EXAMPLES = int(os.environ.get("CRUDS_TEST_EXAMPLES", "40"))

# That examples are large, slow or seldom is as it should be.
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

URL = "https://auth.example.com/token"


class OddityError(Exception):
    """Raised by the caller's own object."""


class Odd:
    """Can be neither shown nor compared."""

    def __repr__(self) -> str:
        raise OddityError

    def __eq__(self, other: object) -> bool:
        raise OddityError

    __hash__ = None  # type: ignore[assignment]


class OddText(str):
    """A text of a class of its own."""

    __slots__ = ()


class Array:
    """Has neither a truth nor an equal, as an array of several numbers has none."""

    def __bool__(self) -> bool:
        raise ValueError

    def __eq__(self, other: object) -> Any:
        return self

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])

    __hash__ = None  # type: ignore[assignment]


class BadPath(os.PathLike[str]):
    """A path that says a number where it is to say a text."""

    def __fspath__(self) -> Any:
        return 1


class Forgetful(io.BytesIO):
    """A file that does not say where it is."""

    def seek(self, *place: int) -> Any:
        """Go there, and return nothing."""
        super().seek(*place)


def released() -> memoryview:
    """Returns a memoryview of nothing any more."""
    view = memoryview(b"x")
    view.release()
    return view


def nested(depth: int) -> list[Any]:
    """Returns a list in a list, and so on."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def circle() -> list[Any]:
    """Returns a list that holds itself."""
    found: list[Any] = []
    found.append(found)
    return found


TEXT = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(categories=["Cs", "Cc", "Lo"]), max_size=6),
    st.sampled_from(
        [
            "",
            " ",
            "\x00",
            "\r\n",
            "\ud800",
            "é",
            "ß.example",
            "http://",
            "https://[",
            "//",
            "a:b",
            "http://h:99999",
        ]
    ),
    st.sampled_from(
        ["https://h\ud800", "%", "%zz", "..", "a/../..", "?", "#", "[", "{", '{"a":', "x" * 300, "9" * 5000]
    ),
    st.text(max_size=5).map(OddText),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63), 10**400, -1, 0, 1, 404]),
    st.floats(),
    st.complex_numbers(),
    TEXT,
    st.binary(max_size=8),
)


def objects() -> st.SearchStrategy[Any]:
    """Returns what is neither plain nor a container."""
    kinds: list[Callable[[], Any]] = [
        object,
        Odd,
        Array,
        BadPath,
        Forgetful,
        released,
        circle,
        partial(nested, 3000),
        bytearray,
        io.StringIO,
        io.BytesIO,
        lambda: iter(()),
        lambda: iter([1]),
        lambda: range(3),
        lambda: int,
        lambda: Client,
        lambda: len,
        lambda: lambda: "x",
        lambda: lambda: 1,
        lambda: Decimal("NaN"),
        lambda: datetime.now(UTC),
        lambda: Path("\x00"),
        lambda: Path("nowhere"),
        lambda: memoryview(b"x"),
        lambda: memoryview(b"abcd").cast("I"),
        lambda: ValueError("x"),
        lambda: ...,
        lambda: urllib3.Retry(),
        lambda: urllib3.Timeout(connect=1),
        lambda: urllib3.Timeout(connect=float("nan")),
        lambda: 10**5000,
        lambda: urllib3.HTTPHeaderDict({"a": "b"}),
    ]
    return st.sampled_from(kinds).map(lambda make: make())


#: Names in a mapping: some that mean something, and some that are no names.
KEYS = st.one_of(
    TEXT,
    st.integers(),
    st.none(),
    st.binary(max_size=3),
    st.sampled_from(["scheme", "Content-Type", "Cookie", ("a", "b")]),
    st.just(5000).map(lambda digits: 10**digits),
)
ANYTHING = st.recursive(
    st.one_of(SCALARS, objects()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.tuples(TEXT, inner),
        st.tuples(TEXT, inner, inner),
        st.dictionaries(KEYS, inner, max_size=3),
        st.lists(st.tuples(inner, inner), max_size=2),
        st.frozensets(SCALARS, max_size=3),
    ),
    max_leaves=5,
)


def sign_ins(**options: Any) -> OAuth2:
    """Returns a scheme with which users sign in."""
    return OAuth2(
        "http://127.0.0.1:9/token",
        "app",
        "secret",
        "read",
        encryption_key="a key",
        authorization_url="https://auth.example.com/authorize",
        redirect_uri="http://127.0.0.1/back",
        timeout=0.2,
        **options,
    )


def asked(make: Callable[[], object], method: str) -> Callable[..., object]:
    """Returns what makes an object and calls a method of it."""

    def call(**options: object) -> object:
        return getattr(make(), method)(**options)

    return call


def create(scheme: Any) -> object:
    """Create a scheme, whose name is no name of an option."""
    return Plugins(()).create(scheme)


def set_attribute(name: str, client: Client, **options: Any) -> None:
    """Set an attribute of a Client."""
    setattr(client, name, options[name])


OAUTH2: dict[str, Any] = {
    "url": URL, "client_id": "app", "client_secret": "secret", "scope": "read", "authorization_details": None,
    "username": None, "password": None, "encryption_key": None, "authorization_url": None,
    "redirect_uri": None, "state_length": 32, "token_endpoint_auth_method": None,
    "form_encode_basic": True, "private_key": None, "private_key_id": None, "assertion_audience": None,
    "token_params": None, "authorization_params": None,
    "issuer": None, "requires_issuer": False, "revocation_url": None, "leeway": 30.0, "timeout": 1.0,
    "verify_ssl": True, "manager": None, "store": None, "user": None,
}  # fmt: skip
CLIENT: dict[str, Any] = {
    "host": "127.0.0.1", "auth": None, "manager": None, "timeout": 1.0, "raise_status": True, "retries": 0,
    "backoff_factor": 0.0, "retry_status_codes": (503,), "serialize": True, "verify_ssl": True,
    "retry_unsafe": False, "max_response_size": 1000, "total_timeout": None, "plugins": None,
}  # fmt: skip
VERB: dict[str, Any] = {"uri": "things", "params": None, "headers": None}
#: By name: what is called, and arguments with which it works.
MADE: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
    "Client": (Client, CLIENT),
    "BearerToken": (BearerToken, {"token": "abc"}),
    "Basic": (Basic, {"username": "ada", "password": "pw"}),
    "Digest": (Digest, {"username": "ada", "password": "pw"}),
    "ApiKey": (ApiKey, {"name": "X-Key", "key": "k", "location": "header"}),
    "OAuth2": (OAuth2, OAUTH2),
    "OAuth2 of a user": (OAuth2, {**OAUTH2, "username": "ada", "password": "pw"}),
    "OAuth2.get_authorization_url": (
        asked(sign_ins, "get_authorization_url"),
        {"additional_params": None},
    ),
    "OAuth2.authorization_request": (
        asked(sign_ins, "authorization_request"),
        {"additional_params": None},
    ),
    "OAuth2.parse_authorization_response": (
        asked(sign_ins, "parse_authorization_response"),
        {"redirect_url": "http://127.0.0.1/back?code=c&state=s"},
    ),
    "OAuth2.exchange_code_for_token": (
        asked(sign_ins, "exchange_code_for_token"),
        {"authorization_code": "c", "state": "s"},
    ),
    "OAuth2.sign_in": (
        asked(sign_ins, "sign_in"),
        {"request": "gAAA", "redirect_url": "http://127.0.0.1/back?code=c&state=s", "user": None},
    ),
    "OAuth2.for_user": (asked(sign_ins, "for_user"), {"user": "ada"}),
    "OAuth2.renew": (asked(sign_ins, "renew"), {"failed": "a token"}),
    "OAuth2.from_issuer": (
        OAuth2.from_issuer,
        {
            "issuer": "http://127.0.0.1:9",
            "client_id": "app",
            "client_secret": None,
            "scope": None,
            "timeout": 0.2,
            "verify_ssl": True,
            "manager": None,
        },
    ),
    "FileStore": (FileStore, {"path": "tokens"}),
    "KeyringStore": (KeyringStore, {"service": "cruds", "locks": None}),
    "RedisStore": (RedisStore, {"redis": "redis://127.0.0.1:9/0", "prefix": "p", "lifetime": 1.0}),
    "Secret": (Secret, {"source": "s", "name": "it", "lines": False}),
    "Headers.override": (asked(Headers, "override"), {"headers": {"a": "b"}}),
    "Request": (Request, {"method": "GET", "url": "http://127.0.0.1/", "headers": {}, "content": None}),
    "Plugins": (Plugins, {"entry_points": None, "allowed": None, "observers": None}),
    "Plugins.create": (create, {"scheme": "basic"}),
    "Plugins.register": (asked(partial(Plugins, ()), "register"), {"observer": None}),
    "Plugins.unregister": (asked(partial(Plugins, ()), "unregister"), {"observer": None}),
}
#: The same of a Client.
SENT: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
    "create": (Client.create, {**VERB, "data": {"name": "x"}, "files": None}),
    "read": (Client.read, VERB),
    "update": (Client.update, {**VERB, "data": {"name": "x"}, "replace": False, "files": None}),
    "delete": (Client.delete, VERB),
    "download": (Client.download, {**VERB, "uri": "health", "path": None, "filename": None}),
    "request": (Client.request, {**VERB, "method": "GET", "data": None, "files": None}),
    "request_headers": (partial(set_attribute, "request_headers"), {"request_headers": {}}),
    "status_ignore": (partial(set_attribute, "status_ignore"), {"status_ignore": ()}),
}


def raised(call: Callable[..., object], options: dict[str, Any]) -> Exception | None:
    """Returns what a call raises that is not one of our own errors, nor the system's, nor the caller's."""
    try:
        call(**options)
    except (CrudsError, OSError, OddityError):
        return None
    except Exception as error:
        return error
    return None


def judge(call: Callable[..., object], options: dict[str, Any], changed: str) -> None:
    """Call something, and hold it to the errors that it may raise: each names what was changed."""
    if (error := raised(call, options)) is not None:
        assert isinstance(error, (TypeError, ValueError)), repr(error)
        assert not isinstance(error, UnicodeError), repr(error)
        assert any(word in str(error) for word in (changed, *ALSO.get(changed, ()))), f"{changed}: {error!r}"


#: What messages call an argument where that says more.
ALSO = {
    "auth": ("username", "password", "token", "scheme"),
    "headers": ("header",),
    "request_headers": ("header",),
    "files": ("a file",),
    "source": ("it ",),  # the name that the Secret was given
    "observer": ("cruds_request",),
    "location": ("name", "key"),
}


def check(name: str, call: Callable[..., object], options: dict[str, Any]) -> None:
    """Call something with arguments that work, but for one that is anything."""

    @settings(
        max_examples=EXAMPLES * max(1, len(options) // 4),
        database=None,
        suppress_health_check=QUIET,
    )
    @given(st.sampled_from(sorted(options)), ANYTHING)
    def judged(changed: str, value: Any) -> None:
        judge(call, {**options, changed: value}, changed)

    judged()


PUBLIC = {name: made for name, made in MADE.items() if isinstance(made[0], type)} | {
    name: sent for name, sent in SENT.items() if not isinstance(sent[0], partial)
}
PUBLIC["OAuth2.from_issuer"] = MADE["OAuth2.from_issuer"]


@pytest.mark.parametrize("name", PUBLIC)
def test_each_argument_is_given(name: str) -> None:
    """An argument that a class or a verb takes is one of those that are anything here."""
    called, options = PUBLIC[name]
    taken = set(inspect.signature(called).parameters) - {"self", "options"}  # of from_issuer: those of OAuth2
    assert taken == set(options)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("name", MADE)
def test_what_is_made_or_asked_with_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the type of an argument, it is taken, or refused by an error that names it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    check(name, *MADE[name])


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent_with_anything(
    name: str, api: DemoAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the type of an argument of a call, it is answered with data, or an error that names it."""
    monkeypatch.chdir(tmp_path)
    call, options = SENT[name]
    with Client(api.url, retries=0, timeout=10) as client:
        check(name, partial(call, client), options)


#: What was found, by the entry point and the argument.
FOUND: list[tuple[str, str, Callable[[], Any]]] = [
    ("FileStore", "path", lambda: "\ud800"),
    ("ApiKey", "location", partial(nested, 3000)),
    ("KeyringStore", "locks", lambda: 1),
    ("KeyringStore", "locks", lambda: ""),
    ("Client", "timeout", lambda: 1e83),
    ("Client", "backoff_factor", lambda: 10**5000),
    ("Client", "max_response_size", lambda: -(10**5000)),
    ("OAuth2", "timeout", lambda: None),
    ("OAuth2", "token_params", lambda: {"a": circle()}),
    ("OAuth2 of a user", "password", circle),
    ("OAuth2 of a user", "private_key", circle),
    ("OAuth2 of a user", "redirect_uri", lambda: 1),
    ("OAuth2 of a user", "token_endpoint_auth_method", partial(nested, 3000)),
    ("OAuth2", "token_endpoint_auth_method", lambda: urllib3.HTTPHeaderDict({"a": "b"})),
    ("OAuth2.exchange_code_for_token", "state", circle),
    ("OAuth2.for_user", "user", partial(nested, 3000)),
    ("OAuth2.renew", "failed", partial(nested, 3000)),
    ("OAuth2.from_issuer", "timeout", lambda: 1e83),
    ("OAuth2.get_authorization_url", "additional_params", circle),
    ("Plugins", "allowed", lambda: 1),
    ("Plugins", "allowed", lambda: b"a"),
    ("Plugins", "entry_points", lambda: [None]),
    ("Plugins", "entry_points", lambda: True),
    ("Plugins.create", "scheme", lambda: None),
    ("Plugins.create", "scheme", partial(nested, 3000)),
    ("Request", "headers", lambda: [None]),
    ("Request", "headers", lambda: {"a": "", None: True}),
    ("create", "params", lambda: {"a": "\ud800"}),
    ("read", "params", lambda: {"a": nested(100_000)}),
    ("create", "files", lambda: {"": ("a://[", None)}),
    ("create", "files", lambda: {"": (None, "x", 1)}),
    ("create", "files", lambda: {"a": urllib3.Retry()}),
    ("create", "files", Array),
    ("create", "files", lambda: {"a": Forgetful()}),
    ("create", "files", lambda: {"a": 10**5000}),
    ("create", "data", released),
    ("create", "headers", lambda: {"Content-Type": 1}),
    ("read", "params", lambda: {"a": 10**5000}),
    ("read", "params", lambda: [(nested(100_000), 1)]),
    ("Client", "timeout", lambda: urllib3.Timeout(connect=float("nan"))),
    ("Client", "auth", lambda: {"scheme": "basic", 1: 2}),
    ("Client", "verify_ssl", BadPath),
    ("OAuth2", "token_params", lambda: {10**5000: "a"}),
    ("OAuth2", "token_params", lambda: {"a": 10**5000}),
    ("OAuth2 of a user", "encryption_key", lambda: ["a", Array()]),
    ("Plugins", "entry_points", lambda: [EntryPoint("a", cast("Any", 1), "cruds.auth")]),
    ("Secret", "name", partial(nested, 3000)),
]


@pytest.mark.parametrize(("name", "argument", "make"), FOUND, ids=range(len(FOUND)))
def test_what_was_found_is_refused(api: DemoAPI, name: str, argument: str, make: Callable[[], Any]) -> None:
    """What once got through the checks of an argument is refused by name."""
    call, options = SENT[name] if name in SENT else MADE[name]
    with Client(api.url, retries=0) as client, pytest.raises((TypeError, ValueError, CrudsError)) as caught:
        (partial(call, client) if name in SENT else call)(**{**options, argument: make()})
    assert type(caught.value) in (TypeError, ValueError) or name == "create"
    assert any(word in str(caught.value) for word in (argument, *ALSO.get(argument, ())))
