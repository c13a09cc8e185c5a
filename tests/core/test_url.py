"""Where requests go: hosts, uris appended to them, and query parameters."""

import socket
import sys
import traceback
from collections.abc import Iterator
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from servers.process import require_distribution
from urllib3.util import parse_url

from cruds_core import Client
from cruds_core.url import BaseURL, split_plain

BASE = "https://api.example.com/v1/"


#: Its members are texts, but write their names where a text is made of them.
Colour: Any = Enum("Colour", {"RED": "red"}, type=str)
Size: Any = Enum("Size", {"LARGE": 3}, type=int)
Switch: Any = Enum("Switch", {"ON": True})


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("api.example.com", "https://api.example.com/"),
        ("api.example.com/v1", BASE),
        ("api.example.com/v1/", BASE),
        ("https://api.example.com/v1//", BASE),
        (" api.example.com/v1 ", BASE),
        ("HTTPS://API.Example.COM/v1", BASE),
        ("http://api.example.com/v1", "http://api.example.com/v1/"),
        ("api.example.com:8443/a/b", "https://api.example.com:8443/a/b/"),
        ("api.example.com:443/v1", BASE),
        ("http://api.example.com:80/v1", "http://api.example.com/v1/"),
        ("http://api.example.com:443/v1", "http://api.example.com:443/v1/"),
        ("https://api.example.com/a b/ü", "https://api.example.com/a%20b/%C3%BC/"),
        ("https://api.example.com/a/../v1", BASE),
        ("[2001:db8::1]", "https://[2001:db8::1]/"),
        ("http://[2001:DB8::1]:8080/v1", "http://[2001:db8::1]:8080/v1/"),
        ("http://[fe80::1%25eth0]:1", "http://[fe80::1%eth0]:1/"),
    ],
)
def test_host(host: str, url: str) -> None:
    """A host with or without scheme, port, base path and trailing slash becomes one base URL."""
    assert BaseURL(host).url == url


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "api.localhost/v1",
        "127.0.0.1:8000",
        "127.8.9.10",
        "[::1]",
        "[::1]:80/v1",
    ],
)
def test_loopback_without_scheme_is_http(host: str) -> None:
    """A loopback host without a scheme means http, and any scheme that is given stays."""
    assert BaseURL(host).url.startswith("http://")
    assert BaseURL(f"https://{host}").url.startswith("https://")


@pytest.mark.parametrize(
    "host", ["localhost.example.com", "127.0.0.1.example.com", "notlocalhost", "128.0.0.1"]
)
def test_a_name_that_looks_like_loopback_is_https(host: str) -> None:
    """What only looks like a loopback address is asked over https."""
    assert BaseURL(host).url == f"https://{host}/"


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("", "host must be a host name"),
        ("   ", "host must be a host name"),
        ("https://", "host must be an http or https URL"),
        ("http:///v1", "host must be an http or https URL"),
        ("//api.example.com", "host must be an http or https URL"),
        ("ftp://api.example.com", "host must be an http or https URL"),
        ("file:///etc/passwd", "host must be an http or https URL"),
        ("https:/api.example.com", "host must be a host name"),
        ("exa mple.com", "cannot be parsed"),
        ("example.com\r\nX: y", "cannot be parsed"),
        ("https://api.example.com:port", "cannot be parsed"),
        ("https://api.example.com:99999", "cannot be parsed"),
        ("https://api.example.com:0", "cannot be parsed"),
        ("::1", r"in brackets, like \"\[::1\]:8080\""),
        ("fe80::1:8080/v1", "in brackets"),
        ("https://api.example.com/?", "query or a fragment"),
        ("https://api.example.com/#top", "query or a fragment"),
    ],
)
def test_bad_host(host: str, message: str) -> None:
    """A host that requests cannot be sent to is refused, and the message says what would do."""
    with pytest.raises(ValueError, match=message):
        BaseURL(host)


@pytest.mark.parametrize("host", [None, 5, b"api.example.com", ["api.example.com"]])
def test_host_of_another_type(host: Any) -> None:
    """A host that is no str is a TypeError that names it."""
    with pytest.raises(TypeError, match="host must be a str"):
        BaseURL(host)


@pytest.mark.parametrize(
    "host",
    [
        "https://ada:hunter2@api.example.com",
        "ada:hunter2@api.example.com/v1",
        "https://hunter2@api.example.com",
        "ftp://ada:hunter2@api.example.com",
        "https://ada:hunter2@exa mple.com",
        "https://ada:hunter2@api.example.com:port",
        "https://ada:pass/hunter2@api.example.com",
        "https://api.example.com?key=hunter2",
        "https://api.example.com#hunter2",
        "https://[api.example.com?key=hunter2",
        "ftp://api.example.com?key=hunter2",
    ],
)
def test_a_refused_host_shows_no_secret(host: str) -> None:
    """Credentials, query and fragment in a host are refused, and neither message nor traceback shows them."""
    with pytest.raises(ValueError, match="host") as caught:
        BaseURL(host)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_idna() -> None:
    """A name that is not ASCII is sent as IDNA has it, where the package idna is there."""
    require_distribution("idna")
    assert BaseURL("Bücher.example").url == "https://xn--bcher-kva.example/"


def test_idna_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package idna, a name that is not ASCII says which extra to install."""
    monkeypatch.setitem(sys.modules, "idna", None)
    with pytest.raises(ValueError, match=r"install \"cruds-core\[idna\]\""):
        BaseURL("bücher.example")


class Echo(BaseHTTPRequestHandler):
    """Answers with the Host that it was asked for."""

    def do_GET(self) -> None:
        """Answer one request."""
        content = f'{{"host": "{self.headers["Host"]}"}}'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


class IPv6Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """Bind without http.server's look-up of the host's name, which asks a name server."""
        TCPServer.server_bind(self)
        self.server_port = self.socket.getsockname()[1]


def has_ipv6() -> bool:
    """Whether this machine has the loopback address of IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture
def ipv6() -> Iterator[int]:
    """The port of a server on [::1]."""
    if not has_ipv6():  # as in many containers: nothing that could be installed
        pytest.skip("this machine has no ::1")
    with IPv6Server(("::1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["[::1]:{}", "http://[::1]:{}/"])
def test_ipv6_server(ipv6: int, host: str) -> None:
    """A server on ::1 is reached, and is told its address in brackets."""
    with Client(host.format(ipv6), retries=0) as client:
        assert client.read("/") == {"host": f"[::1]:{ipv6}"}


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("", ""),
        ("/", ""),
        ("things", "things"),
        ("/things", "things"),
        ("//evil.example/things", "evil.example/things"),
        ("things/", "things/"),
        ("a//b", "a//b"),
        ("?a=1", "?a=1"),
        ("a:b", "a:b"),
        ("user@evil.example", "user@evil.example"),
        (" https://evil.example", "%20https://evil.example"),
        ("a b/ü", "a%20b/%C3%BC"),
        ("a%20b/%c3%bc", "a%20b/%C3%BC"),
        ("a%2Fb", "a%2Fb"),
        ("100%", "100%25"),
        ("a\r\nX: y", "a%0D%0AX:%20y"),
        ("things?name=a b&x=ü", "things?name=a%20b&x=%C3%BC"),
        ("things?next=../../x", "things?next=../../x"),
        ("things?next=https://evil.example/", "things?next=https://evil.example/"),
    ],
)
def test_uri_is_appended(uri: str, url: str) -> None:
    """A uri is appended to the base, percent-encoded where it must be, and never resolved against it."""
    assert BaseURL(BASE).join(uri) == BASE + url


@pytest.mark.parametrize(
    ("uri", "url"), [("./a", "a"), ("a/./b", "a/b"), ("a/../b", "b"), ("a/b/../..", ""), ("...", "...")]
)
def test_dot_segments_that_stay(uri: str, url: str) -> None:
    """Dot segments that stay below the base are taken out."""
    assert BaseURL(BASE).join(uri) == BASE + url


@pytest.mark.parametrize(
    "uri",
    [
        "..",
        "../v2",
        "/../v2",
        "a/../../v2",
        "a/b/../../../v2",
        "%2e%2e/v2",
        ".%2E/v2",
        "a/%2e%2e/%2E%2e/v2",
        "..%2fv2",
        "..%2Fv2",
        "..\\v2",
        "..%5cv2",
        "a\\..\\..\\v2",
        "./../v2",
        "a//../../v2",
        "a%2fb/../../v2",
        "a%5Cb/../../v2",
        "a\\b/../../v2",
        "..;/v2",
        "..;x=1/v2",
        "https://api.example.com/v1/../v2",
        "https://api.example.com/v1/%2e%2e/v2",
        "https://api.example.com/v1/..%5Cv2",
    ],
)
def test_a_uri_that_climbs_is_refused(uri: str) -> None:
    """Dot segments that leave the base are refused, whichever way a server could read them."""
    with pytest.raises(ValueError, match=r"climbs out|does not lie under"):
        BaseURL(BASE).join(uri)


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("https://api.example.com/v1", ""),
        ("https://api.example.com/v1/things?a=1", "things?a=1"),
        ("HTTPS://API.example.com:443/v1/things", "things"),
        ("https://api.example.com/v2/../v1/things", "things"),
        ("https://api.example.com/v1?page=2", "?page=2"),
    ],
)
def test_absolute_url_under_the_host(uri: str, url: str) -> None:
    """An absolute URL that lies under the host is taken, as a Link or a Location gives it."""
    assert BaseURL(BASE).join(uri) == BASE + url


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/v1/things",
        "https://api.example.com.evil.example/v1/things",
        "https://api.example.com@evil.example/v1/things",
        "https://api.example.com/v2",
        "https://api.example.com/v1x",
        "https://api.example.com/V1/things",
        "http://api.example.com/v1/things",
        "https://api.example.com:8443/v1/things",
        "ftp://api.example.com/v1/things",
        "javascript://api.example.com/v1/things",
        "https:/api.example.com/v1/things",
        "https:///v1/things",
    ],
)
def test_absolute_url_outside_the_host(uri: str) -> None:
    """An absolute URL of another scheme, host, port or path is refused."""
    with pytest.raises(ValueError, match="does not lie under"):
        BaseURL(BASE).join(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "https://ada:hunter2@api.example.com/v1/things",
        "https://evil.example/?key=hunter2",
        "https://ada:hunter2@evil.example/",
        "https://[evil.example/?key=hunter2",
        "../v2?key=hunter2",
        "things#hunter2",
    ],
)
def test_a_refused_uri_shows_no_secret(uri: str) -> None:
    """Neither the query nor the credentials of a uri that is refused are shown."""
    with pytest.raises(ValueError, match="uri") as caught:
        BaseURL(BASE).join(uri)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("uri", [None, 5, b"things", ["things"]])
def test_uri_of_another_type(uri: Any) -> None:
    """A uri that is no str is a TypeError that names it."""
    with pytest.raises(TypeError, match="uri must be a str"):
        BaseURL(BASE).join(uri)


@pytest.mark.parametrize(
    ("params", "query"),
    [
        (None, ""),
        ({}, ""),
        ({"a": 1, "b": 1.5, "c": "x"}, "?a=1&b=1.5&c=x"),
        ({"a": [1, 2], "b": ("x", "y")}, "?a=1&a=2&b=x&b=y"),
        ({"a": {1}, "b": range(2), "c": (n for n in "xy")}, "?a=1&b=0&b=1&c=x&c=y"),
        ({"a": []}, ""),
        ({"a": None, "b": [None, 1]}, "?b=1"),
        ({"a": True, "b": False, "c": [True]}, "?a=true&b=false&c=true"),
        ({"a": "", "b": 0}, "?a=&b=0"),
        ({"a": "ü &=+#/?"}, "?a=%C3%BC+%26%3D%2B%23%2F%3F"),
        ({"ü&": 1}, "?%C3%BC%26=1"),
        ({"a": b"x\xff"}, "?a=x%FF"),
        ({"a": bytearray(b"x\xff"), "b": [memoryview(b"x")]}, "?a=x%FF&b=x"),
        ({Colour.RED: [Colour.RED], "on": Switch.ON, "size": Size.LARGE}, "?red=red&on=true&size=3"),
        ([("a", 1), ("b", 2), ("a", 3)], "?a=1&b=2&a=3"),
        (iter([("a", 1)]), "?a=1"),
    ],
)
def test_params(params: Any, query: str) -> None:
    """A sequence repeats its name, None is left out, booleans are true and false, the rest is text."""
    assert BaseURL(BASE).join("things", params) == f"{BASE}things{query}"


@pytest.mark.parametrize(
    ("uri", "query"),
    [
        ("things?q=1", "?q=1&a=%C3%BC"),
        ("things?", "?a=%C3%BC"),
        ("things?q=%C3%A9", "?q=%C3%A9&a=%C3%BC"),
        ("things?q=100%", "?q=100%25&a=%C3%BC"),
        ("https://api.example.com/v1/things?q=1", "?q=1&a=%C3%BC"),
    ],
)
def test_params_are_added_to_the_query_of_the_uri(uri: str, query: str) -> None:
    """Params follow the query that the uri has, and whatever that holds leaves them as they are."""
    assert BaseURL(BASE).join(uri, {"a": "ü"}) == f"{BASE}things{query}"


BAD_PARAMS: list[Any] = [
    "a=1",
    b"b=1",
    5,
    0,
    "",
    [1],
    ["ab"],
    [("a", 1, 2)],
    {"a": {"b": 1}},
    {"a": [{}]},
    {"a": [1, [2]]},
    {"a": [()]},
    {("a", "b"): 1},
    [{"a": 1, "b": 2}],
    [{"a", "b"}],
]


@pytest.mark.parametrize("params", BAD_PARAMS)
def test_bad_params(params: Any) -> None:
    """Params that have no form in a query are a TypeError that names them."""
    with pytest.raises(TypeError, match="params"):
        BaseURL(BASE).join("things", params)


def test_params_without_a_text() -> None:
    """What str() cannot write is a ValueError that names the params, be it a name or a value."""
    released = memoryview(b"x")
    released.release()
    for params in ({"a": 10**5000}, {10**5000: "a"}, {"a": [released]}):
        with pytest.raises(ValueError, match="params hold something that has no text"):
            BaseURL(BASE).join("things", params)


def lies_below(path: str, base: str) -> bool:
    """Whether a path lies below the base after its dot segments are resolved."""
    kept: list[str] = []
    for segment in path.removeprefix("/").split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return f"/{'/'.join(kept)}/".startswith(base)


PIECES = st.sampled_from(
    [
        ".",
        "..",
        "a",
        "/",
        "//",
        "\\",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5C",
        "%",
        "%25",
        ";",
        "?",
        ":",
        "@",
        BASE,
        "ü",
        "\n",
    ]
)


@given(st.text() | st.lists(PIECES).map("".join))
@example("a%2fb/../../x")
@example("a\\b/../../x")
@example("https://api.example.com/v1/a%2fb/../../x")
@settings(max_examples=300)
def test_any_uri_stays_below_the_base_or_is_refused(uri: str) -> None:
    """Whatever the uri, the URL lies below the base, as it stands and as a server may decode it."""
    try:
        url = BaseURL(BASE).join(uri)
    except ValueError:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "api.example.com", "")
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    decoded = unquote(parts.path)
    for reading in (parts.path, decoded, decoded.replace("\\", "/")):
        assert lies_below(reading, "/v1/")


@given(st.text() | st.lists(PIECES).map("".join))
def test_a_uri_that_needs_no_parsing_is_joined_alike(uri: str) -> None:
    """A URL that was joined without being parsed is the one that parsing makes of it."""
    try:
        url = BaseURL(BASE).join(uri, {"a": 1})
    except ValueError:
        return
    assert parse_url(url).url == url


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://127.0.0.1:80/a/b?c=/d", ("http://127.0.0.1:80", "/a/b?c=/d")),
        ("https://api.example.com/", ("https://api.example.com", "/")),
        ("https://api.example.com", None),
        ("https://api.example.com?a", None),
        ("https://api.example.com/a/../b", None),
        ("https://API.example.com/a", None),
        ("https://ada@api.example.com/a", None),
        ("https://api.example.com\\@b/", None),
        ("https://[::1]/a", None),
        ("https://api.example.com/a#b", None),
        ("ftp://api.example.com/a", None),
    ],
)
def test_plain_url(url: str, parts: tuple[str, str] | None) -> None:
    """A URL is split without being parsed only where nothing about it is odd."""
    assert split_plain(url) == parts


@given(st.sampled_from(["http://a.example:80", BASE, "https://b"]), st.text() | st.lists(PIECES).map("".join))
def test_plain_url_is_split_as_by_parsing(start: str, rest: str) -> None:
    """What a URL is split into is what parsing makes of it, encoded."""
    parts = split_plain(start + rest)
    if parts is not None:
        parsed = parse_url(start + rest)
        assert parts[0] == f"{parsed.scheme}://{parsed.netloc}"
        assert parse_url("http://x" + parts[1]).request_uri == parsed.request_uri
