"""What an OAuth2 is made with: each wrong argument is refused at once, by an error that names it."""

import json
import re
import types
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3

from cruds_auth_oauth2 import OAuth2

URL = "https://as.example.com/token"
CALLBACK = "https://app.example.com/callback"
USER = {"username": "ada", "password": "pw-0123456"}
URLS = ["url", "authorization_url", "revocation_url", "issuer"]


def make(**options: Any) -> OAuth2:
    """Returns a client of these arguments, and what is required where they leave it out."""
    required: dict[str, Any] = {"url": URL, "client_id": "id", "client_secret": "secret", "scope": None}
    return OAuth2(**{**required, **options})


def nested(depth: int) -> list[Any]:
    """Returns lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


class Unequal:
    """Compares to what has no truth, as an array of several numbers does."""

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError


# Types and values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in URLS for value in (5, b"https://as.example.com", ["x"], Path("/x"))),
        ("url", None),
        ("scope", 5),
        ("scope", True),
        ("scope", b"read"),
        ("scope", [1]),
        ("scope", [b"read"]),
        ("scope", {"read": True}),
        ("authorization_details", 5),
        ("authorization_details", True),
        ("authorization_details", b"[]"),
        ("authorization_details", "5"),
        ("authorization_details", "null"),
        ("authorization_details", '"text"'),
        ("username", 5),
        ("username", b"ada"),
        ("password", 5),
        ("password", b"pw"),
        ("encryption_key", 5),
        ("encryption_key", b"key"),
        ("encryption_key", [b"key"]),
        ("encryption_key", {"key"}),
        pytest.param("encryption_key", ["key", Unequal()], id="an array"),
        ("redirect_uri", 5),
        ("redirect_uri", b"https://app.example.com/callback"),
        ("state_length", "32"),
        ("state_length", 32.0),
        ("state_length", True),
        ("state_length", None),
        *((name, value) for name in ("form_encode_basic", "requires_issuer") for value in (1, "no", None)),
        *(
            (name, value)
            for name in ("token_params", "authorization_params")
            for value in (5, "a=b", [("a", "b")])
        ),
        ("leeway", "30"),
        ("leeway", None),
        ("leeway", True),
        ("timeout", "10"),
        ("timeout", True),
        ("verify_ssl", None),
        ("verify_ssl", 1),
        ("verify_ssl", b"ca.pem"),
        ("manager", 5),
        ("manager", urllib3.PoolManager),
        pytest.param("manager", urllib3.HTTPConnectionPool("as.example.com"), id="a connection pool"),
    ],
    ids=repr,
)
def test_wrong_type(name: str, value: Any) -> None:
    """An argument of a wrong type is a TypeError that names it, and says what was got."""
    user = USER if name in USER else {}
    with pytest.raises(TypeError, match=rf"^{name} must .*\(got ") as caught:
        make(**user | {name: value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state_length", 15),
        ("state_length", 10**30),
        ("state_length", 0),
        ("state_length", -1),
        *(("leeway", value) for value in (-1, float("nan"), float("inf"))),
        *(("timeout", value) for value in (0, -1, float("nan"), float("inf"))),
        ("verify_ssl", "/nowhere/ca.pem"),
        ("verify_ssl", ""),
        ("encryption_key", ""),
        ("encryption_key", []),
        ("encryption_key", ["key", ""]),
        ("username", "ada\n"),
        ("username", "\ud800"),
        ("password", "pw\r\n"),
        ("password", "\0"),
    ],
    ids=repr,
)
def test_wrong_value(name: str, value: Any) -> None:
    """A value that cannot work is a ValueError that begins with the name of the argument."""
    user = USER if name in USER else {}
    with pytest.raises(ValueError, match=f"^{name} "):
        make(**user | {name: value})


def test_least_values() -> None:
    """The least values that work are taken: 16 bytes of state (RFC 6749, section 10.10), no leeway."""
    assert make(state_length=16, leeway=0, timeout=0.001).url == URL


def test_verify_ssl_that_is_no_certificate(tmp_path: Path) -> None:
    """A file that holds no certificates is refused when it is named, not at the first request."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(ValueError, match=r"^verify_ssl is .*no PEM file"):
        make(verify_ssl=path)


# Arguments that need each other


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"username": "ada"}, "username and password need each other"),
        ({"password": "pw-0123456"}, "username and password need each other"),
        ({"requires_issuer": True}, "requires_issuer needs the issuer"),
        (
            {**USER, "authorization_url": f"{URL}/a", "redirect_uri": CALLBACK},
            "username and authorization_url are for different grants",
        ),
    ],
)
def test_arguments_that_do_not_go_together(options: dict[str, Any], said: str) -> None:
    """Arguments that need another one, or exclude it, are refused with the names of both."""
    with pytest.raises(ValueError, match=said) as caught:
        make(**options)
    assert "pw-0123456" not in str(caught.value)


# URLs


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "url",
    [
        "http://as.example.com/token",
        "http://127.0.0.1.example.com/token",
        "http://localhost.example.com/token",
        "http://notlocalhost/token",
        "http://0.0.0.0/token",
        "http://2130706433/token",
        "http://[2001:db8::1]/token",
        "http://10.0.0.1/token",
    ],
)
def test_url_that_is_not_secure(name: str, url: str) -> None:
    """A URL of another machine is https (RFC 6749, section 3.2), however much it looks like this one."""
    with pytest.raises(ValueError, match=f"^{name} must be https: .*{re.escape(url)}"):
        make(**{name: url})


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "url",
    [
        "",
        "as.example.com/token",
        "//as.example.com/token",
        "/token",
        "https:///token",
        "https://",
        "ftp://as.example.com/token",
        "file:///etc/passwd",
        "https://as.example.com:99999/token",
        " https://as.example.com/token",
        "https://as.example.com /token",
        "https://[::1/token",
    ],
)
def test_url_that_is_none(name: str, url: str) -> None:
    """What is no absolute http or https URL is refused."""
    with pytest.raises(ValueError, match=f"^{name} must be "):
        make(**{name: url})


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "url", ["https://as.example.com/token\n", "https://as.example.com/\x00", "https://a/\ud800"]
)
def test_url_that_cannot_be_sent(name: str, url: str) -> None:
    """A URL with its line break, or another character that has no place in one, is refused, not encoded."""
    with pytest.raises(ValueError, match=f"^{name} "):
        make(**{name: url})


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize("host", ["a..example.com", f"{'a' * 64}.example.com", ".example.com"])
def test_url_of_no_host(name: str, host: str) -> None:
    """A host with a label that no name server can have is refused (RFC 1035, section 2.3.4)."""
    with pytest.raises(ValueError, match=f"^{name} "):
        make(**{name: f"https://{host}/token"})


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "url",
    [
        "https://user:s3cret@as.example.com/token",
        "https://s3cret@as.example.com/token",
        "http://127.0.0.1@as.example.com/token",
        "https://as.example.com/token#s3cret",
        "https://as.example.com/token#",
    ],
)
def test_url_with_a_user_or_a_fragment(name: str, url: str) -> None:
    """A URL with a user or a fragment is refused (RFC 6749, sections 3.1 and 3.2), and neither is shown."""
    with pytest.raises(ValueError, match=f"^{name} must ") as caught:
        make(**{name: url})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://as.example.com/token",
        "https://as.example.com",
        "https://as.example.com:8443/token",
        "https://as.example.com/token?tenant=a",
        "http://127.0.0.1:8080/token",
        "http://127.1.2.3/token",
        "http://localhost/token",
        "http://sub.localhost/token",
        "http://[::1]:8080/token",
    ],
)
def test_url_that_works(url: str) -> None:
    """A URL is https, with or without a query, or leads to this machine."""
    assert make(url=url, authorization_url=url, revocation_url=url).url == url


@pytest.mark.parametrize(
    "url", ["https://as.example.com?x", "https://as.example.com/?", "https://as.example.com/a?b=c"]
)
def test_issuer_with_a_query(url: str) -> None:
    """An issuer has no query (RFC 8414, section 2)."""
    with pytest.raises(ValueError, match=r"^issuer must not have a query"):
        make(issuer=url)


def test_repr() -> None:
    """The repr says the URL without its query, the client and the scope, and nothing else."""
    oauth2 = make(url=f"{URL}?key=s3cret", scope=["read", "write"], encryption_key="key-0123456789", **USER)
    assert repr(oauth2) == f"OAuth2(url='{URL}', client_id='id', scope='read write')"


# Where the browser is sent back to


@pytest.mark.parametrize(
    "uri",
    ["", "/callback", "app.example.com/callback", f"{CALLBACK}#x", f"{CALLBACK}\n", f"{CALLBACK}/ü", "1a:/x"],
)
def test_redirect_uri_that_cannot_work(uri: str) -> None:
    """A redirect URI is absolute and has no fragment (RFC 6749, section 3.1.2)."""
    with pytest.raises(ValueError, match=r"^redirect_uri must be an absolute URI without a fragment"):
        make(authorization_url=URL, redirect_uri=uri)


@pytest.mark.parametrize(
    "uri",
    [
        CALLBACK,
        "http://127.0.0.1:0/callback?a=b",
        "http://[::1]/x",
        "com.example.app:/callback",
        "http://app.test/x",
    ],
)
def test_redirect_uri_that_works(uri: str) -> None:
    """A redirect URI has any scheme, that of an application too (RFC 8252, section 7), and stays as it is."""
    url = make(authorization_url=URL, redirect_uri=uri).get_authorization_url()
    assert parse_qs(urlsplit(url).query)["redirect_uri"] == [uri]


# The scope


@pytest.mark.parametrize("name", ['a"b', "a\\b", "ü", "a\0b", "\x7f", "\ud800"])
@pytest.mark.parametrize("form", ["{}", "read {}", "{} read"])
def test_scope_of_no_scope_characters(name: str, form: str) -> None:
    """A scope holds the characters that RFC 6749, section 3.3, allows."""
    with pytest.raises(ValueError, match=r"^scope holds .* which is no scope"):
        make(scope=form.format(name))


@pytest.mark.parametrize("scope", [["a b"], ["a", ""], ["a\n"], ['a"b']])
def test_scope_in_a_list(scope: list[str]) -> None:
    """Each item of a list is one name."""
    with pytest.raises(ValueError, match=r"^scope holds "):
        make(scope=scope)


@pytest.mark.parametrize(
    ("scope", "read"),
    [
        (None, None),
        ("", None),
        ([], None),
        ("read", "read"),
        ("  read \t write\n", "read write"),
        (("read", "https://api.example.com/x:y.z"), "read https://api.example.com/x:y.z"),
        ({"read"}, "read"),
        (frozenset({"read"}), "read"),
    ],
)
def test_scope(scope: Any, read: str | None) -> None:
    """A scope is names with white space between, or a list of them, or none."""
    assert make(scope=scope).scope == read


# Authorization details


@pytest.mark.parametrize(
    "details",
    [
        "",
        "{",
        pytest.param("[" * 100_000, id="deep JSON"),
        [{}],
        [5],
        [[]],
        ["x"],
        [{"type": 5}],
        [{"type": "a"}, {"kind": "b"}],
        '[{"kind": "b"}]',
        {"kind": "b"},
        [{"type": "a", "limit": float("nan")}],
        [{"type": "a", "limit": {1}}],
        [{"type": "a", "limit": b"x"}],
        pytest.param([{"type": "a", "limit": nested(100_000)}], id="deep lists"),
    ],
)
def test_details_that_cannot_work(details: Any) -> None:
    """Authorization details are JSON objects, each with its type (RFC 9396, section 2)."""
    with pytest.raises(ValueError, match=r"^authorization_details "):
        make(authorization_details=details)


def test_details_that_hold_themselves() -> None:
    """Details that hold themselves are no JSON."""
    details: dict[str, Any] = {"type": "a"}
    details["self"] = details
    with pytest.raises(ValueError, match=r"^authorization_details "):
        make(authorization_details=details)


def test_details_of_any_mapping() -> None:
    """Details may be mappings of any kind, as the signature says, and may hold what JSON has."""
    details = types.MappingProxyType({"type": "a", "limits": [1, 2.5, None, True, "ü"]})
    options: dict[str, Any] = {"authorization_url": URL, "redirect_uri": CALLBACK}
    for given in (details, [details], (details,)):
        url = make(authorization_details=given, **options).get_authorization_url()
        (sent,) = parse_qs(urlsplit(url).query)["authorization_details"]
        assert json.loads(sent) == [dict(details)]


# Further parameters


@pytest.mark.parametrize("name", ["token_params", "authorization_params"])
@pytest.mark.parametrize(
    "key",
    [
        *(
            "client_id",
            "client_secret",
            "client_assertion",
            "client_assertion_type",
            "grant_type",
            "scope",
            "code",
        ),
        *("redirect_uri", "username", "password", "refresh_token", "code_verifier", "authorization_details"),
        *("response_type", "state", "code_challenge", "code_challenge_method"),
    ],
)
def test_parameter_that_we_set(name: str, key: str) -> None:
    """A further parameter is none of those that the grants and the client's credentials have."""
    with pytest.raises(ValueError, match=f'^{name} holds "{key}", which is set by us'):
        make(**{name: {key: "x"}})


@pytest.mark.parametrize("name", ["token_params", "authorization_params"])
@pytest.mark.parametrize("key", ["", 5, None, b"audience", "a\nb", "\ud800", 10**5000], ids=range(7))
def test_parameter_without_a_name(name: str, key: Any) -> None:
    """The name of a parameter is a text that can be sent."""
    with pytest.raises(ValueError, match=rf"^{name} holds .*no name of a parameter"):
        make(**{name: {key: "x"}})


@pytest.mark.parametrize("name", ["token_params", "authorization_params"])
@pytest.mark.parametrize(
    "value", [None, 5.0, True, b"x", {"x"}, {"a": "b"}, [None], [["x"]], 10**5000], ids=range(9)
)
def test_parameter_of_a_wrong_type(name: str, value: Any) -> None:
    """The value of a parameter is a str or a list of these; nothing is made one without being asked."""
    with pytest.raises(TypeError, match=rf'^{name}\["audience"\] must be a str or a list of these'):
        make(**{name: {"audience": value}})


@pytest.mark.parametrize("name", ["token_params", "authorization_params"])
@pytest.mark.parametrize("value", ["x\ny", "\0", "\ud800", ["x", "y\r"]])
def test_parameter_that_cannot_be_sent(name: str, value: Any) -> None:
    """The value of a parameter is searched for what cannot be sent, and not shown."""
    with pytest.raises(ValueError, match=rf'^{name}\["api_key"\] ') as caught:
        make(**{name: {"api_key": value}})
    assert str(value) not in str(caught.value)
