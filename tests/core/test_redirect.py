"""Redirects: which are followed, with what method, and what of a request goes along."""

from typing import Any

import pytest
import urllib3
from servers.fault import Fault, Received, reply
from servers.nginx import REDIRECTS, Nginx
from servers.tls import Certificates

from cruds_auth_basic import ApiKey
from cruds_core import AuthABC, BearerToken, Client, ClientError, RedirectError
from cruds_core.redirect import MAX_REDIRECTS
from cruds_core.request import Request

SECRET = "hidden-7f3a"
HARMLESS = {"accept", "accept-encoding", "range", "user-agent"}
CONNECTION = {"host", "connection", "content-length"}


def client(url: str, **options: Any) -> Client:
    """Returns a Client that pauses for nothing."""
    settings: dict[str, Any] = {"backoff_factor": 0, "timeout": 10} | options
    return Client(url, **settings)


def names(request: Received) -> set[str]:
    """Returns the names of the headers of a request, in small letters."""
    return {name.lower() for name in request.headers}


class Watching(AuthABC):
    """Keeps the URLs and statuses that it is shown, and answers every challenge."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.statuses: list[int] = []

    def authenticate(self, request: Request) -> None:
        """Keep the URL, and add a token."""
        self.urls.append(request.url)
        request.headers["Authorization"] = f"Bearer {SECRET}"

    def handle_response(self, request: Request, response: urllib3.BaseHTTPResponse) -> None:
        """Keep the status."""
        self.statuses.append(response.status)

    def handle_challenge(self, request: Request, response: urllib3.BaseHTTPResponse) -> bool:
        """Keep the status, and ask for another attempt."""
        self.statuses.append(-response.status)
        return True


# Within an origin


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_real_server(nginx: Nginx, method: str, status: int) -> None:
    """A GET or HEAD follows each kind of redirect of nginx, and the answer names the URL it came from."""
    with client(nginx.url) as it:
        response = it.request(method, f"redirect/{status}")
    assert (response.status, response.method, response.attempts) == (200, method, 2)
    assert response.url == f"{nginx.url}/small.json"


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        *((status, "POST", "GET") for status in (301, 302, 303)),
        *((status, "POST", "POST") for status in (307, 308)),
        *(
            (status, method, method)
            for status in (301, 302, 307, 308)
            for method in ("PUT", "PATCH", "DELETE")
        ),
        *((303, method, "GET") for method in ("PUT", "PATCH", "DELETE")),
        (303, "HEAD", "HEAD"),
    ],
)
def test_method(status: int, method: str, then: str) -> None:
    """301 and 302 make a POST a GET, 303 makes everything a GET, and with the method goes the content."""
    with Fault(reply(status, Location="/there"), reply(200, b"")) as server, client(server.url) as it:
        content = None if method == "HEAD" else {"a": 1}
        it.request(method, "here", content, headers={"Content-Language": "la"})
    first, second = server.received
    assert (first.method, second.method, second.target) == (method, then, "/there")
    if then == method:
        assert (second.content, second.headers["Content-Type"]) == (
            first.content,
            first.headers["Content-Type"],
        )
    else:
        assert second.content == b""
        assert not names(second) & {"content-type", "content-language", "transfer-encoding"}
        assert second.headers.get("Content-Length", "0") == "0"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("next", "/v1/next"),
        ("./next/", "/v1/next/"),
        ("../up", "/up"),
        ("/top?b=2", "/top?b=2"),
        ("?page=2", "/v1/here?page=2"),
        ("//{netloc}/rooted", "/rooted"),
        ("http://{netloc}", "/"),
        ("HTTP://{netloc}/Case", "/Case"),
        ("/there#part", "/there"),
        ("http://ada:pw@{netloc}/there", "/there"),
        ("/a b", "/a%20b"),
        ("/caf\xc3\xa9", "/caf%C3%A9"),  # UTF-8, as HTTP shows it: in Latin-1
    ],
)
def test_location(location: str, target: str) -> None:
    """A Location is resolved against the request (RFC 9110, 10.2.2), without userinfo and fragment."""
    scheme = Watching()
    with Fault(b"", reply(200)) as server, client(f"{server.url}/v1", auth=scheme) as it:
        location = location.format(netloc=server.url.removeprefix("http://"))
        answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        server.scripts[0] = answer.encode("latin-1")
        response = it.request("GET", "here", params={"a": 1})
    first, second = server.received
    assert (first.target, second.target) == ("/v1/here?a=1", target)
    assert second.headers["Authorization"] == f"Bearer {SECRET}"
    assert second.headers["Host"] == server.url.removeprefix("http://")
    assert (response.url.removeprefix(server.url) or "/") == target.partition("?")[0]
    assert (scheme.urls[1].removeprefix(server.url) or "/") == target


@pytest.mark.parametrize(
    "scheme", [BearerToken(SECRET), ApiKey("X-Key", SECRET), ApiKey("key", SECRET, "query")]
)
def test_same_origin_is_authenticated(scheme: AuthABC) -> None:
    """Within the origin a redirected request has its headers and is authenticated like any other, once."""
    echoed = f"?key={SECRET}" if isinstance(scheme, ApiKey) and scheme.location == "query" else ""
    with (
        Fault(reply(307, Location=f"/there{echoed}"), reply(200)) as server,
        client(server.url, auth=scheme) as it,
    ):
        it.create("here", {}, headers={"X-Tenant": "t1"})
    first, second = server.received
    assert dict(second.headers) == dict(first.headers)
    assert second.headers["X-Tenant"] == "t1"
    assert (second.target + str(second.headers)).count(SECRET) == 1


def test_retries_go_on_at_the_new_place() -> None:
    """A refusal after a redirect is retried where the redirect led, not where the call began."""
    scripts = [reply(302, Location="/there"), reply(503), reply(200, b"1")]
    with Fault(*scripts) as server, client(server.url) as it:
        assert it.read("here") == 1
    assert [request.target for request in server.received] == ["/here", "/there", "/there"]


def test_redirects_are_no_retries() -> None:
    """With retries=0 redirects are followed all the same."""
    with (
        Fault(reply(302, Location="/there"), reply(200, b"1")) as server,
        client(server.url, retries=0) as it,
    ):
        assert it.read("here") == 1


# To another origin


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", REDIRECTS)
def test_other_origin_gets_harmless_headers(method: str, status: int) -> None:
    """Another origin gets the GET or HEAD with the four harmless headers and nothing that was added."""
    with (
        Fault(reply(200, b"")) as other,
        Fault(reply(status, b"", Location=f"{other.url}/there?b=2")) as server,
        client(server.url, auth=BearerToken(SECRET)) as it,
    ):
        it.request_headers.update({"Cookie": f"s={SECRET}", "X-Api-Key": SECRET, "Referer": "/internal"})
        headers = {"Range": "bytes=0-", "If-Match": '"1"', "Idempotency-Key": "k", "Proxy-Authorization": "p"}
        response = it.request(method, "here", params={"a": SECRET}, headers=headers)
    (received,) = other.received
    assert (received.method, received.target) == (method, "/there?b=2")
    assert names(received) - CONNECTION == HARMLESS
    assert SECRET not in str(received.headers)
    assert server.received[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert response.url == f"{other.url}/there"


def test_query_key_stays_home() -> None:
    """An API key in the query is not in the request that goes to another origin."""
    with (
        Fault(reply(200)) as other,
        Fault(reply(302, Location=f"{other.url}/there")) as server,
        client(server.url, auth=ApiKey("key", SECRET, location="query")) as it,
    ):
        it.read("here")
    assert server.received[0].target == f"/here?key={SECRET}"
    assert other.received[0].target == "/there"


def test_echoed_query_key_stays_home() -> None:
    """A redirect that would take an API key to another origin, because it repeats the query, is refused."""
    with (
        Fault(reply(200)) as other,
        Fault(reply(302, Location=f"{other.url}/there?key={SECRET}&b=2")) as server,
        client(server.url, auth=ApiKey("key", SECRET, location="query")) as it,
        pytest.raises(RedirectError, match="credentials to another origin") as caught,
    ):
        it.read("here")
    assert other.connections == 0
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "method"),
    [
        *((status, "POST") for status in (307, 308)),
        *((status, method) for status in (301, 302, 307, 308) for method in ("PUT", "PATCH", "DELETE")),
        (302, "OPTIONS"),
    ],
)
def test_content_does_not_leave(status: int, method: str) -> None:
    """Nothing but a GET or HEAD follows a redirect to another origin, which hears nothing of it."""
    with (
        Fault(reply(200)) as other,
        Fault(reply(status, Location=f"{other.url}/there?t={SECRET}")) as server,
        client(server.url, auth=BearerToken(SECRET)) as it,
        pytest.raises(RedirectError, match=f"it would take a {method} to another origin") as caught,
    ):
        it.request(method, "here", {"a": 1})
    assert (other.received, other.connections) == ([], 0)
    assert (caught.value.status, caught.value.url) == (status, f"{server.url}/here")
    assert other.url in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_see_other_leaves_as_get(method: str) -> None:
    """A 303 to another origin is a GET, without the content."""
    with (
        Fault(reply(200, b"1")) as other,
        Fault(reply(303, Location=f"{other.url}/there")) as server,
        client(server.url) as it,
    ):
        assert it.request(method, "here", {"a": 1}).data == 1
    (received,) = other.received
    assert (received.method, received.content) == ("GET", b"")
    assert names(received) - CONNECTION <= HARMLESS


def test_no_credentials_on_the_way_back() -> None:
    """A request that comes back from another origin is not authenticated again, as the other wrote it."""
    scheme = Watching()
    with (
        Fault(reply(302, Location="x"), reply(401)) as server,
        Fault(reply(302, Location=f"{server.url}/delete-all")) as other,
        client(server.url, auth=scheme) as it,
    ):
        it.request_headers["X-Api-Key"] = SECRET
        server.scripts[0] = reply(302, Location=f"{other.url}/there")
        with pytest.raises(ClientError, match="which gets no credentials") as caught:
            it.read("here")
    assert (caught.value.status, len(server.received), len(other.received)) == (401, 2, 1)
    assert names(server.received[1]) - CONNECTION <= HARMLESS
    assert scheme.statuses == [302]


def test_next_call_is_authenticated() -> None:
    """That one call left the origin changes nothing for the next."""
    with (
        Fault(reply(401)) as other,
        Fault(reply(302, Location=f"{other.url}/there"), reply(200, b"1")) as server,
        client(server.url, auth=BearerToken(SECRET)) as it,
    ):
        with pytest.raises(ClientError):
            it.read("here")
        assert it.read("here") == 1
    assert server.received[1].headers["Authorization"] == f"Bearer {SECRET}"


def test_other_name_is_another_origin() -> None:
    """The same address under another name is another origin: an origin is scheme, host and port."""
    with (
        Fault(reply(302, Location="x"), reply(200)) as server,
        client(server.url, auth=BearerToken(SECRET)) as it,
    ):
        server.scripts[0] = reply(302, Location=server.url.replace("127.0.0.1", "localhost") + "/there")
        it.read("here", headers={"X-Api-Key": SECRET})
    assert {"authorization", "x-api-key"} <= names(server.received[0])
    assert names(server.received[1]) - CONNECTION <= HARMLESS


def test_secure_to_plain_is_refused(tls: Certificates) -> None:
    """A redirect from https to http is refused, even of a GET to the same host, and nothing is sent."""
    with (
        Fault(reply(200)) as plain,
        Fault(reply(302, Location=f"{plain.url}/there"), certificate=tls.good_path) as server,
        client(server.url, verify_ssl=tls.ca_path, auth=BearerToken(SECRET)) as it,
        pytest.raises(RedirectError, match="https to http") as caught,
    ):
        it.read("here")
    assert (caught.value.status, caught.value.attempts, plain.connections) == (302, 1, 0)


def test_plain_to_secure_is_followed(tls: Certificates) -> None:
    """A redirect from http to https is one to another origin: followed by a GET, without credentials."""
    with (
        Fault(reply(200, b"1"), certificate=tls.good_path) as secure,
        Fault(reply(301, Location=f"{secure.url}/there")) as server,
        client(server.url, verify_ssl=tls.ca_path, auth=BearerToken(SECRET)) as it,
    ):
        assert it.read("here") == 1
    assert names(secure.received[0]) - CONNECTION <= HARMLESS


# Refused


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "javascript:alert(1)",
        "mailto:ada@example.com",
        "http://[::1/x",
        "http://127.0.0.1:99999/x",
        "http://exa mple/x",
    ],
)
def test_location_that_is_no_place(location: str) -> None:
    """A Location that is no http or https URL is refused with its status, and the request not repeated."""
    with (
        Fault(reply(302, Location=location)) as server,
        client(server.url) as it,
        pytest.raises(RedirectError, match="the 302 redirect is not followed: its Location") as caught,
    ):
        it.read("here")
    assert (caught.value.headers["Location"], len(server.received)) == (location, 1)


def test_redirect_to_nowhere() -> None:
    """A redirect without a Location is refused like one that leads nowhere."""
    with (
        Fault(reply(302)) as server,
        client(server.url) as it,
        pytest.raises(RedirectError, match="it has no Location"),
    ):
        it.read("here")


@pytest.mark.parametrize("location", ["/here", "?again", "{other}/there"])
def test_loop_ends(location: str) -> None:
    """Redirects without end are followed 20 times, and then raised."""
    with Fault(b"") as other, Fault(b"") as server, client(server.url) as it:
        other.scripts[0] = reply(302, Location=f"{server.url}/here")
        server.scripts[0] = reply(302, Location=location.format(other=other.url))
        with pytest.raises(RedirectError, match="one more than the 20") as caught:
            it.read("here")
    assert MAX_REDIRECTS == 20
    assert (caught.value.attempts, len(server.received) + len(other.received)) == (21, 21)


def test_limit_of_the_users_manager() -> None:
    """The number of redirects in the Retry of a manager of the user's goes before the 20."""
    manager = urllib3.PoolManager(retries=urllib3.Retry(redirect=2))
    with (
        Fault(reply(302, Location="/here")) as server,
        client(server.url, manager=manager) as it,
        pytest.raises(RedirectError, match="the 2 "),
    ):
        it.read("here")
    assert len(server.received) == 3


class Once:
    """A reader that cannot seek."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, size: int = -1, /) -> bytes:
        """Return all there is, once."""
        content, self.content = self.content, b""
        return content

    def seekable(self) -> bool:
        """Say no."""
        return False


def test_stream_is_not_sent_again() -> None:
    """A redirect that asks for content again which cannot be read again is refused."""
    with (
        Fault(reply(307, Location="/there")) as server,
        client(server.url, serialize=False) as it,
        pytest.raises(RedirectError, match="stream, which cannot be sent again"),
    ):
        it.create("here", Once(b"content"))
    assert [request.content for request in server.received] == [b"content"]


def test_stream_becomes_a_get() -> None:
    """A redirect that turns the request into a GET needs no content, and is followed."""
    with (
        Fault(reply(303, Location="/there"), reply(200, b"1")) as server,
        client(server.url, serialize=False) as it,
    ):
        assert it.create("here", Once(b"content")) == b"1"
    assert [(request.method, request.content) for request in server.received] == [
        ("POST", b"content"),
        ("GET", b""),
    ]
    assert "transfer-encoding" not in names(server.received[1])


def test_refusal_tells_no_secret() -> None:
    """The message of a refusal has no query and no credentials; status and Location are on the error."""
    location = f"https://ada:{SECRET}@127.0.0.1:1/there?t={SECRET}"
    with (
        Fault(reply(307, b'{"moved": true}', Location=location)) as server,
        client(server.url) as it,
        pytest.raises(RedirectError) as caught,
    ):
        it.create("here", {}, params={"key": SECRET})
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    assert str(caught.value).startswith(f"POST {server.url}/here: the 307 redirect is not followed")
    assert caught.value.headers["Location"] == location
    assert caught.value.data == {"moved": True}


def test_ignored_redirect_is_returned() -> None:
    """With its status in status_ignore a refused redirect is the answer."""
    moved = reply(302, b'{"moved": true}', Location="ftp://127.0.0.1/")
    with Fault(moved) as server, client(server.url) as it:
        it.status_ignore.add(302)
        response = it.request("GET", "here")
    assert (response.status, response.data) == (302, {"moved": True})
    assert response.headers["Location"] == "ftp://127.0.0.1/"


def test_refused_redirect_is_no_success() -> None:
    """raise_status=False is for statuses of 400 and more: a redirect that is not followed is raised."""
    moved = reply(302, Location="ftp://127.0.0.1/")
    with (
        Fault(moved) as server,
        client(server.url, raise_status=False) as it,
        pytest.raises(RedirectError),
    ):
        it.read("here")


@pytest.mark.parametrize("status", [300, 304])
def test_other_3xx_is_an_answer(status: int) -> None:
    """A 3xx that is no redirect is an answer: 304 is what a conditional request asks for."""
    with Fault(reply(status, b"", Location="/there")) as server, client(server.url) as it:
        response = it.request("GET", "here", headers={"If-None-Match": '"1"'})
    assert (response.status, len(server.received)) == (status, 1)


def test_a_parameter_is_no_credential() -> None:
    """A redirect elsewhere may repeat a parameter of the caller's that another one has dropped."""
    with Fault(reply(200, b"1")) as other, Fault(reply(200)) as server:
        server.scripts[:] = [
            reply(302, b"", Location="/y"),
            reply(302, b"", Location=f"{other.url}/z?page=1234567"),
        ]
        with Client(server.url, "a-token") as it:
            assert it.read("x", {"page": "1234567"}) == 1


@pytest.mark.parametrize("place", ["http://localhost:{port}/x?y={key}", "/{key}"])
def test_a_key_in_any_header_is_not_said_back(place: str) -> None:
    """What a scheme puts into a header is a credential, whatever the header is called."""
    with Fault(reply(200)) as server, Client(server.url, ApiKey("X-Shop", "a-key-of-a-shop")) as it:
        to = place.format(port=server.url.rpartition(":")[2], key="a-key-of-a-shop")
        server.scripts[:] = [reply(302, b"", Location=to), reply(200)]
        with pytest.raises(RedirectError) as caught:
            it.read("x")
        assert len(server.received) == 1
    assert "a-key-of-a-shop" not in str(caught.value)


def test_a_header_of_the_caller_may_be_part_of_a_path() -> None:
    """A redirect may lead to a path with the value of a caller's header whose name says of no credential."""
    there = reply(302, b"", Location="/acme-corp/x")
    with Fault(there, reply(200, b"1")) as server, Client(server.url, "a-token") as it:
        it.request_headers["X-Tenant"] = "acme-corp"
        assert it.read("x") == 1
