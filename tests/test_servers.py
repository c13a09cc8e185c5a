"""Each fixture's server does what the fixture promises, seen through plain urllib3."""

import base64
import gzip
import hashlib
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from servers import process
from servers import proxy as proxy_server
from servers.apache import Apache
from servers.nginx import REDIRECTS, SIZES, Nginx
from servers.proxy import Proxy
from servers.tls import Certificates


@pytest.fixture
def http(tls: Certificates) -> Iterator[urllib3.PoolManager]:
    """A manager that trusts the private authority, retries nothing and gives up after 20 s."""
    context = ssl.create_default_context(cafile=tls.ca_path)
    with urllib3.PoolManager(ssl_context=context, retries=False, timeout=20) as manager:
        yield manager


def digest_header(
    answer: urllib3.BaseHTTPResponse, method: str, path: str, apache: Apache, count: int = 1
) -> str:
    """Answers a Digest challenge as RFC 7616, section 3.4.1, for MD5 and qop=auth."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    challenge = dict(re.findall(r'(\w+)="?([^",]+)', answer.headers["WWW-Authenticate"]))
    assert (challenge["algorithm"], challenge["qop"], challenge["realm"]) == ("MD5", "auth", apache.realm)
    secret = md5(f"{apache.user}:{apache.realm}:{apache.password}")
    proof = md5(f"{secret}:{challenge['nonce']}:{count:08x}:0a4f:auth:{md5(f'{method}:{path}')}")
    return (
        f'Digest username="{apache.user}", realm="{apache.realm}", nonce="{challenge["nonce"]}", '
        f'uri="{path}", algorithm=MD5, qop=auth, nc={count:08x}, cnonce="0a4f", response="{proof}"'
    )


def test_httpbin_echoes(http: urllib3.PoolManager, httpbin: str) -> None:
    """The answer of httpbin is what it was sent, chunked content included."""
    assert http.request("POST", f"{httpbin}/post", json={"a": 1}).json()["json"] == {"a": 1}
    chunks = iter([b"one ", b"two"])
    assert http.request("PUT", f"{httpbin}/put", body=chunks, chunked=True).json()["data"] == "one two"


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_nginx_serves_json(http: urllib3.PoolManager, nginx: Nginx, name: str, size: int) -> None:
    """JSON files of the promised sizes come over connections that nginx keeps, plain and over TLS."""
    for url in (nginx.url, nginx.tls_url):
        answers = [http.request("GET", f"{url}/{name}.json") for _ in range(2)]
        assert [len(answer.data) for answer in answers] == [size, size]
        assert answers[0].headers["Content-Type"] == "application/json"
        assert answers[0].headers["X-Connection"] == answers[1].headers["X-Connection"]
        assert answers[0].json() == answers[1].json()


def test_nginx_compresses(http: urllib3.PoolManager, nginx: Nginx) -> None:
    """Under /gzip/ an answer is compressed for a client that accepts it."""
    answer = http.request(
        "GET", f"{nginx.url}/gzip/medium.json", headers={"Accept-Encoding": "gzip"}, decode_content=False
    )
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(gzip.decompress(answer.data)) == SIZES["medium"]


def test_nginx_asks_for_basic(http: urllib3.PoolManager, nginx: Nginx) -> None:
    """Under /basic/ only the right password opens, in UTF-8 and with its colon."""
    url = f"{nginx.url}/basic/small.json"
    refused = http.request("GET", url)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="nginx"')
    wrong = urllib3.make_headers(basic_auth=f"{nginx.user}:s3cret")
    assert http.request("GET", url, headers=wrong).status == 401
    right = {"Authorization": "Basic " + encoded(f"{nginx.user}:{nginx.password}")}
    assert http.request("GET", url, headers=right).status == 200


def encoded(credentials: str) -> str:
    """Returns Basic credentials in UTF-8, where urllib3's helper would take Latin-1."""
    return base64.b64encode(credentials.encode()).decode()


@pytest.mark.parametrize("code", REDIRECTS)
def test_nginx_redirects(http: urllib3.PoolManager, nginx: Nginx, code: int) -> None:
    """Each redirect has its status and leads to a file."""
    answer = http.request("POST", f"{nginx.url}/redirect/{code}", redirect=False)
    assert (answer.status, answer.headers["Location"]) == (code, "/small.json")


def test_nginx_drops_and_refuses(http: urllib3.PoolManager, nginx: Nginx) -> None:
    """At /drop nginx hangs up, and at /limit it refuses content over 1 KiB."""
    with pytest.raises(urllib3.exceptions.ProtocolError):
        http.request("GET", f"{nginx.url}/drop")
    assert http.request("PUT", f"{nginx.url}/limit", body=b"x" * 1024).json() == {"accepted": True}
    assert http.request("PUT", f"{nginx.url}/limit", body=b"x" * 1025).status == 413


def test_nginx_is_slow(http: urllib3.PoolManager, nginx: Nginx) -> None:
    """Under /slow/ the head comes at once and the content over seconds."""
    start = time.monotonic()
    answer = http.request("GET", f"{nginx.url}/slow/medium.json", preload_content=False)
    assert time.monotonic() - start < 1
    assert len(answer.read(5_000)) == 5_000
    assert time.monotonic() - start > 1
    answer.close()


def test_nginx_stores_files(http: urllib3.PoolManager, nginx: Nginx) -> None:
    """Under /dav/ a file can be put, replaced, read and deleted."""
    process.require(nginx.has_dav, "this nginx has no http_dav_module: apt-get install nginx-full")
    url = f"{nginx.url}/dav/new/a.json"
    assert http.request("PUT", url, body=b"{}").status == 201
    assert http.request("PUT", url, body=b"[1]").status == 204
    assert http.request("GET", url).json() == [1]
    assert http.request("DELETE", url).status == 204
    assert http.request("GET", url).status == 404


def test_tls_faults(http: urllib3.PoolManager, nginx: Nginx) -> None:
    """The expired and the misnamed certificate fail for just that, and any of them without the authority."""
    for url, fault in (
        (nginx.expired_url, "has expired"),
        (nginx.wrong_name_url, "not valid for '127.0.0.1'"),
    ):
        with pytest.raises(urllib3.exceptions.SSLError, match=fault):
            http.request("GET", f"{url}/small.json")
    with urllib3.PoolManager(retries=False) as stranger, pytest.raises(urllib3.exceptions.SSLError):
        stranger.request("GET", f"{nginx.tls_url}/small.json")
    assert http.request("GET", f"{nginx.tls_url.replace('127.0.0.1', 'localhost')}/small.json").status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_apache_authenticates(http: urllib3.PoolManager, apache: Apache, scheme: str, method: str) -> None:
    """Apache challenges with the scheme of the path, and then answers any method with what it was sent."""
    path = f"/{scheme}/echo?q=a%20%22b%22"
    refused = http.request(method, apache.url + path, body=b"content")
    assert refused.status == 401
    if scheme == "basic":
        header = "Basic " + encoded(f"{apache.user}:{apache.password}")
    else:
        header = digest_header(refused, method, path, apache)
    answer = http.request(method, apache.url + path, body=b"content", headers={"Authorization": header})
    assert answer.status == 200
    assert answer.json() == {
        "method": method,
        "path": path,
        "query": "q=a%20%22b%22",
        "user": apache.user,
        "content_type": "",
        "length": 7,
        "sha256": hashlib.sha256(b"content").hexdigest(),
    }


def test_apache_serves_without_credentials(http: urllib3.PoolManager, apache: Apache) -> None:
    """Outside the protected paths Apache serves a JSON file and echoes chunked content."""
    assert http.request("GET", f"{apache.url}/small.json").json() == {"served_by": "apache"}
    answer = http.request("PUT", f"{apache.url}/echo", body=iter([b"one ", b"two"]), chunked=True)
    assert answer.json()["sha256"] == hashlib.sha256(b"one two").hexdigest()


def test_apache_nonce_grows_stale(http: urllib3.PoolManager, apache: Apache) -> None:
    """A nonce of /digest-short/ is refused as stale after its second."""
    path = "/digest-short/small.json"
    refused = http.request("GET", apache.url + path)
    for count, pause, status in ((1, 0, 200), (2, 1.2, 401)):
        time.sleep(pause)
        header = digest_header(refused, "GET", path, apache, count)
        answer = http.request("GET", apache.url + path, headers={"Authorization": header})
        assert answer.status == status
    assert "stale=true" in answer.headers["WWW-Authenticate"]


def through(proxy: Proxy, tls: Certificates, credentials: str | None = None) -> urllib3.ProxyManager:
    """Returns a manager whose requests go through the proxy."""
    headers = urllib3.make_headers(proxy_basic_auth=credentials) if credentials else None
    context = ssl.create_default_context(cafile=tls.ca_path)
    return urllib3.ProxyManager(
        proxy.url, proxy_headers=headers, ssl_context=context, retries=False, timeout=20
    )


def test_proxy_forwards(proxy: Proxy, nginx: Nginx, tls: Certificates) -> None:
    """Plain and tunnelled requests go through the proxy, and its log shows both."""
    with through(proxy, tls) as manager:
        for url in (nginx.url, nginx.tls_url):
            assert manager.request("GET", f"{url}/small.json?seen").status == 200
    assert f"GET {nginx.url}/small.json?seen " in proxy.log()
    assert f"CONNECT {nginx.tls_url.removeprefix('https://')} " in proxy.log()


def test_auth_proxy_asks(auth_proxy: Proxy, nginx: Nginx, tls: Certificates) -> None:
    """The second proxy refuses without its own credentials, and forwards with them."""
    with through(auth_proxy, tls) as manager:
        assert manager.request("GET", f"{nginx.url}/small.json").status == 407
        with pytest.raises(urllib3.exceptions.ProxyError, match="407"):
            manager.request("GET", f"{nginx.tls_url}/small.json")
    with through(auth_proxy, tls, f"{auth_proxy.user}:{auth_proxy.password}") as manager:
        for url in (nginx.url, nginx.tls_url):
            assert manager.request("GET", f"{url}/small.json").status == 200


def test_taken_port_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose port was taken between choosing and binding starts on another one."""
    with socket.create_server((process.HOST, 0)) as stranger:
        choices = iter([[stranger.getsockname()[1]], process.free_ports(1)])

        def choose(count: int) -> list[int]:
            return next(choices)

        monkeypatch.setattr(process, "free_ports", choose)
        with proxy_server.serve(tmp_path) as server:
            assert not server.url.endswith(f":{stranger.getsockname()[1]}")


def test_failure_shows_the_log(tmp_path: Path) -> None:
    """A program that ends at once raises an error that carries what it wrote."""

    def configure(_: list[int]) -> list[str]:
        return [sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"]

    failure = pytest.raises(process.ServerError, match=r"(?s)ended with 3.*no such thing")
    with failure, process.running(configure, tmp_path / "log", "never"):
        pass


def test_stubborn_server_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ignores the request to end is killed together with its children."""
    monkeypatch.setattr(process, "STOP_SECONDS", 0.2)
    script = "trap '' TERM; sh -c 'echo child $$; sleep 60'; sleep 60"
    with process.running(lambda _: ["sh", "-c", script], tmp_path / "log", "child "):
        child = (tmp_path / "log").read_text().split()[1]
    time.sleep(0.1)
    assert (
        subprocess.run(["ps", "-o", "stat=", "-p", child], capture_output=True, text=True).stdout[:1] in "Z"
    )


def test_require_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing program skips a test, or fails it where all are required, and names the package."""
    monkeypatch.delenv("CRUDS_TEST_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install no-package"):
        process.program("no-such-program", "no-package")
    monkeypatch.setenv("CRUDS_TEST_REQUIRE", "all")
    with pytest.raises(pytest.fail.Exception, match="apt-get install no-package"):
        process.program("no-such-program", "no-package")
