"""Digest against Apache, httpbin, and a server that is stricter than both."""

import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import urllib3
from servers.apache import Apache
from servers.digest import PASSWORD, USERNAME, DigestServer
from servers.proxy import Proxy

from cruds_auth_basic import Digest
from cruds_core import AuthError, Client, ClientError

FORMS = [name + suffix for name in ("MD5", "SHA-256", "SHA-512-256") for suffix in ("", "-sess")]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
TARGETS = ["plain", "a b/ü%3f;v=1/", "x?y=1&y=ä b&%7E&q='\"[]|", "//double//slash/", "a%2Fb%2fc"]
THREADS = 16


@contextmanager
def opened(**options: Any) -> Generator[tuple[DigestServer, Client]]:
    """Opens a strict server, and a client with the right credentials."""
    with DigestServer(**options) as server:
        auth = Digest(server.username, server.password)
        with Client(server.url, auth, backoff_factor=0, timeout=20) as client:
            yield server, client


def repeated(server: DigestServer) -> list[tuple[str, str]]:
    """Returns each nonce with a count that was sent more than once."""
    uses = Counter((proof["nonce"], proof["nc"]) for proof in server.proofs)
    return [use for use, times in uses.items() if times > 1]


@pytest.mark.parametrize("form", [None, *FORMS])
@pytest.mark.parametrize("qop", ["auth", "auth-int", "auth, auth-int"])
def test_every_form(form: str | None, qop: str) -> None:
    """Each algorithm and qop is answered after one challenge, and from then on at once."""
    with opened(algorithms=(form,), qop=qop) as (server, client):
        for number in range(3):
            assert client.create("items", {"number": number})["method"] == "POST"
    assert server.statuses == [401, 200, 200, 200]
    assert [proof["nc"] for proof in server.proofs] == ["00000001", "00000002", "00000003"]


def test_server_of_rfc_2069() -> None:
    """A server that offers no qop is answered without count and cnonce."""
    with opened(algorithms=(None,), qop=None) as (server, client):
        for _ in range(2):
            client.read("x")
    # Such a server knows no counts: the same nonce is good again and again.
    assert server.statuses == [401, 200, 200]


@pytest.mark.parametrize("qop", ["auth", "auth-int"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_method_and_target(target: str, qop: str) -> None:
    """What is signed is the method and the target that are sent, however the uri is written."""
    with opened(qop=qop) as (server, client):
        for method in METHODS:
            response = client.request(method, target, params={"more": "ö &", "many": [1, 2]})
            assert response.status == 200
    assert [seen.method for seen in server.requests] == ["GET", *METHODS]


def test_download(tmp_path: Path) -> None:
    """A download is answered like any request."""
    with opened() as (server, client):
        assert (
            client.download("file.json", tmp_path).read_bytes()
            == b'{"method": "GET", "target": "/file.json"}'
        )
    assert server.statuses == [401, 200]


@pytest.mark.parametrize("qop", ["auth", "auth-int"])
def test_content_is_sent_again(qop: str, tmp_path: Path) -> None:
    """Content of any kind that can be repeated is sent whole with the answer to the challenge."""
    (tmp_path / "a.bin").write_bytes(b"\x00\xff" * 100_000)
    for kind in ("file", "form"):
        with opened(qop=qop) as (server, client), (tmp_path / "a.bin").open("rb") as file:
            client.serialize = False
            if kind == "file":
                client.create("x", file)
            else:
                client.create("x", None, files={"file": file, "note": "ü"})
        contents = [seen.content for seen in server.requests]
        assert len(contents) == 2
        assert contents[0] == contents[1]
        assert b"\x00\xff" * 100_000 in contents[0]


class Stream(BytesIO):
    """Content that cannot be read twice."""

    def seekable(self) -> bool:
        """It is not."""
        return False


def test_stream() -> None:
    """A stream cannot be sent again, so it fails with the challenge, and the next one answers that."""
    with opened() as (server, client):
        client.serialize = False
        with pytest.raises(ClientError, match="401"):
            client.create("x", Stream(b"first"))
        client.create("x", Stream(b"second"))
    assert [(seen.status, seen.content) for seen in server.requests] == [(401, b"first"), (200, b"second")]


def test_stream_with_auth_int() -> None:
    """Where content must be protected a stream is refused before anything is sent."""
    with opened(qop="auth-int") as (server, client):
        client.serialize = False
        client.read("x")
        with pytest.raises(AuthError, match="content is a stream"):
            client.create("x", Stream(b"content"))
        assert server.statuses == [401, 200]
        client.create("x", b"content")


def test_wrong_password() -> None:
    """A wrong password ends with its 401 after two requests, and after one once a challenge is known."""
    with DigestServer() as server, Client(server.url, Digest(USERNAME, "wr0ng")) as client:
        for statuses in ([401, 401], [401], [401]):
            server.requests.clear()
            with pytest.raises(ClientError) as caught:
                client.read("x")
            assert (caught.value.status, server.statuses) == (401, statuses)
            assert "wr0ng" not in str(caught.value)


def test_password_that_changes() -> None:
    """A callable is asked at each request, and a password that the server changed fails after one request."""
    passwords = iter(["first", "first", "second"])
    with (
        DigestServer(password="first") as server,
        Client(server.url, Digest(USERNAME, lambda: next(passwords))) as client,
    ):
        client.read("x")
        server.password = "second"
        with pytest.raises(ClientError, match="401"):
            client.read("x")
        assert server.statuses == [401, 200, 401]
        client.read("x")
    assert server.statuses[-1] == 200
    assert len(server.statuses) <= 5


@pytest.mark.parametrize("form", FORMS)
def test_stale_nonce(form: str) -> None:
    """A nonce that is used up is replaced by the one of the new challenge, and the request sent once more."""
    with opened(algorithms=(form,), uses=2) as (server, client):
        assert [client.request("GET", "x").attempts for _ in range(5)] == [2, 1, 2, 1, 2]
    assert server.statuses == [401, 200, 200, 401, 200, 200, 401, 200]


def test_always_stale() -> None:
    """A server that finds every nonce stale is asked no more than twice in a call."""
    with opened(uses=0) as (server, client):
        for _ in range(2):
            server.requests.clear()
            with pytest.raises(ClientError, match="401"):
                client.read("x")
            assert server.statuses == [401, 401]


def test_nonce_of_one_use() -> None:
    """A nonce that a redirect used up is replaced, though the call met a challenge before."""
    with opened(uses=1) as (server, client):
        server.answers.append((307, {"Location": "/y"}))
        client.read("x")
    assert server.statuses == [401, 307, 401, 200]


@pytest.mark.parametrize("form", FORMS)
def test_nextnonce(form: str) -> None:
    """The nextnonce of each answer is used next, and a session algorithm keeps the key of its challenge."""
    with opened(algorithms=(form,), renews=True, uses=1) as (server, client):
        for _ in range(4):
            client.read("x")
    assert server.statuses == [401, 200, 200, 200, 200]
    assert len({proof["nonce"] for proof in server.proofs}) == 4
    assert {proof["nc"] for proof in server.proofs} == {"00000001"}


def test_nextnonce_that_is_in_use() -> None:
    """A nextnonce that names the nonce of now, as some servers send with each answer, keeps its count."""
    with opened() as (server, client):
        client.read("x")
        server.announced.extend([server.proofs[0]["nonce"]] * 2)
        for _ in range(3):
            client.read("x")
    assert server.statuses == [401, 200, 200, 200, 200]
    assert [proof["nc"] for proof in server.proofs] == ["00000001", "00000002", "00000003", "00000004"]


def test_nextnonce_of_an_error() -> None:
    """A nextnonce is taken from an answer of any status."""
    with opened(uses=1) as (server, client):
        server.announced.append("b")
        server.answers.append((404, {}))
        with pytest.raises(ClientError, match="404"):
            client.read("x")
        client.read("x")
    assert server.statuses == [401, 404, 200]


def test_retry_has_a_count_of_its_own() -> None:
    """Each attempt of a request is proven anew."""
    with opened() as (server, client):
        server.answers.extend([(503, {"Retry-After": "0"})] * 3)
        client.read("x")
    assert server.statuses == [401, 503, 503, 503, 200]
    assert repeated(server) == []


def test_lost_connection() -> None:
    """An answer to the challenge whose connection is lost is repeated with a count of its own."""
    with opened() as (server, client):
        server.answers.extend([(0, {}), (0, {})])
        client.read("x")
    assert [status for status in server.statuses if status != 401] == [0, 0, 200]
    assert repeated(server) == []


@pytest.mark.parametrize(
    "location", ["/else?where=1", "sibling", '/a b/%7e?q="x|y"&z=[1]#part', "?only=query"]
)
def test_redirect_within_the_origin(location: str) -> None:
    """A redirect within the origin is proven for the target that it leads to."""
    with opened() as (server, client):
        server.answers.append((302, {"Location": location}))
        client.read("x/y")
    assert server.statuses == [401, 302, 200]
    assert [proof["uri"] for proof in server.proofs] == [seen.target for seen in server.requests[1:]]
    assert len({proof["uri"] for proof in server.proofs}) == 2


def test_redirect_to_another_origin() -> None:
    """Another origin is proven nothing, and its challenge is not answered."""
    with opened() as (server, client), DigestServer() as other:
        server.answers.append((302, {"Location": f"{other.url}/x"}))
        with pytest.raises(ClientError, match="401"):
            client.read("x")
    assert (other.statuses, other.proofs) == ([401], [])


UNKNOWN = (
    'Basic realm="Digest"',
    'Newauth realm="a, Digest b", type=1, title="Login to \\"apps\\""',
    "Negotiate YII=",
    'Digest realm="x", nonce="y", qop="auth", algorithm=SHA-512',
    'Digest realm="x", nonce="y", qop="auth-conf"',
    'Digest realm="no nonce"',
)


@pytest.mark.parametrize("separate", [True, False], ids=["several fields", "one field"])
@pytest.mark.parametrize("before", [UNKNOWN, ('Newauth a="b",\r\n\tc=d',)], ids=["unknown", "folded"])
def test_challenges_before_ours(before: tuple[str, ...], separate: bool) -> None:
    """Challenges that nobody here can answer are passed over, in one field or several."""
    with opened(before=before, separate=separate) as (server, client):
        client.read("x")
    assert server.statuses == [401, 200]


def test_the_first_known_algorithm_is_taken() -> None:
    """Of several Digest challenges the first that we know is answered (RFC 7616, section 3.7)."""
    with opened(algorithms=("SHA-512", "SHA-256", "SHA-512-256", "MD5")) as (server, client):
        client.read("x")
    assert [proof["algorithm"] for proof in server.proofs] == ["SHA-256"]


@pytest.mark.parametrize("name", ["realm", "nonce", "opaque"])
def test_challenge_that_cannot_be_sent_back(name: str) -> None:
    """A challenge with a control character, which no header of ours can hold, is the server's 401."""
    told = {name: "a\x1bb"} | {other: "o" for other in ("realm", "nonce", "opaque") if other != name}
    challenge = ", ".join(f'{key}="{value}"' for key, value in told.items())
    with opened(algorithms=(), before=(f'Digest qop="auth", {challenge}',)) as (server, client):
        with pytest.raises(ClientError, match="401"):
            client.read("x")
        assert server.statuses == [401]


def test_nextnonce_that_cannot_be_sent_back() -> None:
    """A nextnonce with a control character is passed over, and the nonce of now goes on."""
    with opened() as (server, client):
        client.read("x")
        server.announced.append("a\x1bb")
        for _ in range(3):
            client.read("x")
    assert server.statuses == [401, 200, 200, 200, 200]


@pytest.mark.parametrize(
    "before", [(), ('Basic realm="x"',), UNKNOWN], ids=["nothing else", "Basic", "much else"]
)
def test_no_challenge_of_ours(before: tuple[str, ...]) -> None:
    """Without a challenge that we know the 401 is raised at once, and nothing like a password was sent."""
    with opened(algorithms=("SHA-512",), before=before) as (server, client):
        with pytest.raises(ClientError, match="401"):
            client.read("x")
        assert server.statuses == [401]
        assert server.proofs == []


@pytest.mark.parametrize(
    "options",
    [
        {"realm": 'say "hi", \\o/ ü €'},
        {"username": 'back\\sl"ash,='},
        {"username": "Jäsøn Doe"},
        {"username": "Jäsøn Doe", "charset": True},
        {"username": "Jäsøn Doe", "charset": True, "userhash": True, "realm": "ü"},
        {"username": "plain", "charset": True},
        {"password": 'päss: "w\\ord" €'},
        {"password": ""},
        {"username": ""},
        {"more": 'domain="/a http://elsewhere.test/b", stale=FALSE, future="x, y=z"'},
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["MD5", "SHA-512-256-sess"])
def test_texts(options: dict[str, Any], form: str) -> None:
    """Quotes, backslashes and letters beyond ASCII arrive as they are; unknown parameters do not matter."""
    with opened(algorithms=(form,), **options) as (server, client):
        client.read("x")
        client.read("y")
    assert server.statuses == [401, 200, 200]


@pytest.mark.parametrize(
    "options",
    [
        {"ordered": False},
        {"ordered": True},
        {"uses": 1},
        {"uses": 3},
        {"renews": True},
        {"renews": True, "uses": 1, "algorithms": ("SHA-256-sess",)},
    ],
    ids=str,
)
def test_threads(options: dict[str, Any]) -> None:
    """Threads that share a Client are all answered, and no count of a nonce is ever sent twice."""
    with opened(**options) as (server, client), ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(client.read, [f"x/{number}" for number in range(10 * THREADS)]))
    assert server.statuses.count(200) == 10 * THREADS
    assert repeated(server) == []


def test_threads_reuse_nonces() -> None:
    """Threads need no more challenges than there are requests at one time."""
    with opened() as (server, client), ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(client.read, [f"x/{number}" for number in range(10 * THREADS)]))
    assert server.statuses.count(401) <= THREADS


def test_origins_are_apart() -> None:
    """An instance that two Clients share answers each origin with that origin's own challenge."""
    auth = Digest(USERNAME, PASSWORD)
    with (
        DigestServer(realm="one") as one,
        DigestServer(realm="two", algorithms=("SHA-256",)) as two,
        Client(one.url, auth) as first,
        Client(two.url, auth) as second,
    ):
        for client in (first, second, first, second):
            client.read("x")
    assert one.statuses == two.statuses == [401, 200, 200]


def test_clients_of_one_origin() -> None:
    """An instance that two Clients of one origin share needs one challenge, and counts for both."""
    auth = Digest(USERNAME, PASSWORD)
    with (
        DigestServer() as server,
        Client(server.url, auth) as first,
        Client(f"{server.url}/base", auth) as second,
    ):
        for client in (first, second, first):
            client.read("x")
    assert server.statuses == [401, 200, 200, 200]
    assert repeated(server) == []


def test_realms_of_one_origin() -> None:
    """A challenge for another realm is answered, although the last realm's credentials were just refused."""
    with opened(realm="one") as (server, client):
        client.read("x")
        server.realm = "two"
        client.read("x")
    assert server.statuses == [401, 200, 401, 200]


def password() -> str:
    """Returns the password: a callable that can be imported."""
    return PASSWORD


def test_pickled_copy() -> None:
    """A copy out of a pickle asks for a challenge of its own, and the original goes on counting."""
    auth = Digest(USERNAME, password)
    with DigestServer() as server, Client(server.url, auth) as client:
        client.read("x")
        copy = pickle.loads(pickle.dumps(auth))  # noqa: S301 - our own
        with Client(server.url, copy) as other:
            other.read("x")
            client.read("x")
            other.read("x")
    assert server.statuses == [401, 200, 401, 200, 200, 200]
    assert repeated(server) == []


def test_plain_password_is_not_pickled() -> None:
    """A scheme with a plain password does not go into a pickle."""
    with pytest.raises(TypeError, match="password is a plain text, which is never pickled"):
        pickle.dumps(Digest(USERNAME, PASSWORD))


FORK = """
import os, sys
from cruds_auth_basic import Digest
from cruds_core import Client

client = Client(sys.argv[1], Digest(sys.argv[2], sys.argv[3]))
client.read("parent/1")
child = os.fork()
if not child:
    client.read("child/1")
    client.read("child/2")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
client.read("parent/2")
client.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_child() -> None:
    """A forked child asks for a challenge of its own, and its parent goes on counting."""
    with DigestServer() as server:
        subprocess.run([sys.executable, "-c", FORK, server.url, USERNAME, PASSWORD], check=True, timeout=60)
    seen = [(seen.target, seen.status, seen.credentials.get("nc")) for seen in server.requests]
    assert seen == [
        ("/parent/1", 401, None),
        ("/parent/1", 200, "00000001"),
        ("/child/1", 401, None),
        ("/child/1", 200, "00000001"),
        ("/child/2", 200, "00000002"),
        ("/parent/2", 200, "00000002"),
    ]


def test_through_a_proxy(proxy: Proxy) -> None:
    """Through a plain proxy, whose target is an absolute URL, path and query are signed."""
    auth = Digest(USERNAME, PASSWORD)
    with DigestServer(ordered=False) as server, urllib3.ProxyManager(proxy.url) as manager:
        client = Client(server.url, auth, manager, backoff_factor=0)
        assert client.read("x", {"y": "a b"})["target"] == "/x?y=a+b"
        assert client.update("x", {"a": 1}, replace=True)["method"] == "PUT"


def test_no_secret_is_shown() -> None:
    """The repr of the scheme shows who asks, and no password."""
    assert repr(Digest(USERNAME, PASSWORD)) == "Digest(username='Mufasa', password=***)"


@pytest.mark.parametrize(
    ("username", "password", "error", "text"),
    [
        (1, "pw", TypeError, "username must be a str"),
        ("ada", b"pw", TypeError, "password must be a str or a callable"),
        ("ada", None, TypeError, "password must be a str or a callable"),
        ("a\nda", "pw", ValueError, "username holds a control character"),
        ("ada", "pw\n", ValueError, "password begins or ends with a line break"),
    ],
)
def test_arguments(username: Any, password: Any, error: type[Exception], text: str) -> None:
    """What cannot be a username or a password is refused when the scheme is made."""
    with pytest.raises(error, match=text):
        Digest(username, password)


@pytest.fixture
def apache_client(apache: Apache) -> Iterator[Client]:
    """A client of what Apache protects by Digest."""
    with Client(f"{apache.url}/digest", Digest(apache.user, apache.password), backoff_factor=0) as client:
        yield client


def test_apache(apache_client: Client, apache: Apache) -> None:
    """Apache's mod_auth_digest lets the right user in, after one challenge."""
    assert [apache_client.request("GET", "small.json").attempts for _ in range(3)] == [2, 1, 1]
    assert apache_client.read("echo", {"q": "ü &"})["user"] == apache.user


@pytest.mark.parametrize("target", TARGETS[:-1])  # Apache has no slashes within segments
def test_apache_methods_and_targets(apache_client: Client, target: str) -> None:
    """Apache accepts every method and target, and the content arrives."""
    for method in METHODS:
        content = {"text": "ü" * 1000} if method in ("POST", "PUT", "PATCH") else None
        response = apache_client.request(method, f"echo/{target}", content)
        assert response.status == 200
        if method != "HEAD":
            assert response.data["method"] == method
            assert response.data["length"] == (2011 if content else 0)


def test_apache_nonce_grows_stale(apache: Apache) -> None:
    """A nonce that Apache finds too old is replaced within the call."""
    with Client(f"{apache.url}/digest-short", Digest(apache.user, apache.password)) as client:
        client.read("small.json")
        time.sleep(1.1)
        assert client.request("GET", "small.json").attempts == 2


def test_apache_refuses(apache: Apache) -> None:
    """Apache's refusal of a wrong password is raised after the one answer."""
    with (
        Client(f"{apache.url}/digest", Digest(apache.user, "wr0ng")) as client,
        pytest.raises(ClientError, match=r"401.*2 attempts") as caught,
    ):
        client.read("small.json")
    assert "wr0ng" not in str(caught.value)


def test_apache_with_threads(apache_client: Client) -> None:
    """Threads that share a Client are all let in by Apache."""
    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(apache_client.read, ["small.json"] * (4 * THREADS)))
    assert answers == [{"served_by": "apache"}] * (4 * THREADS)


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("qop", ["auth", "auth-int", "both"])
def test_httpbin(httpbin: str, qop: str, algorithm: str) -> None:
    """The server of httpbin lets the right user in with the algorithms that it shares with us."""
    with Client(f"{httpbin}/digest-auth", Digest("user", "passwd")) as client:
        for _ in range(2):
            answer = client.read(f"{qop}/user/passwd/{algorithm}")
            assert answer == {"authenticated": True, "user": "user"}


def test_httpbin_with_another_algorithm(httpbin: str) -> None:
    """SHA-512, which RFC 7616 does not have, is not answered: the challenge's 401 is raised."""
    with (
        Client(f"{httpbin}/digest-auth", Digest("user", "passwd")) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.read("auth/user/passwd/SHA-512")
    assert (caught.value.status, caught.value.attempts) == (401, 1)
