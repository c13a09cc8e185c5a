"""Connections: TLS, proxies, threads, forks, and what urllib3 logs of them."""

import gc
import logging
import os
import shutil
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import urllib3
from servers.fault import End, Fault, Script, reply
from servers.nginx import Nginx
from servers.process import program
from servers.proxy import Proxy
from servers.tls import Certificates

from cruds.demo.api import DemoAPI
from cruds_auth_basic import ApiKey, Basic
from cruds_core import Client, ProxyError, RequestError, TLSError

SECRET = "hidden-7f3a"
THREADS = 32


def connection(client: Client) -> str:
    """Returns the number that nginx gives to the connection of a request."""
    return client.request("GET", "small.json").headers["X-Connection"]


def run(script: str, *arguments: str, **environment: str) -> str:
    """Runs a script in a new interpreter, which must succeed within 20 s, and returns what it prints."""
    # Newer Pythons warn of a fork while there are threads, which is what some of the scripts are about.
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", script, *arguments]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# Kept connections


def test_connection_is_kept(nginx: Nginx) -> None:
    """Calls one after the other share a connection, after a refusal and a redirect as well."""
    with Client(nginx.url) as client:
        first = connection(client)
        client.raise_status = False
        assert client.request("GET", "missing").headers["X-Connection"] == first
        assert client.request("GET", "redirect/302").headers["X-Connection"] == first
        assert connection(client) == first


def test_closed_client_can_be_used(nginx: Nginx) -> None:
    """close() ends the connections, and the next call opens a new one."""
    client = Client(nginx.url)
    first = connection(client)
    client.close()
    with client:
        assert connection(client) != first


def test_connections_closed_behind_its_back(nginx: Nginx) -> None:
    """Where its manager has closed the connections, the next call opens one, and further calls keep it."""
    with Client(nginx.url) as client:
        first = connection(client)
        client.manager.clear()
        second = connection(client)
        assert second != first
        assert connection(client) == second


@pytest.mark.parametrize("total_timeout", [None, 60])
@pytest.mark.parametrize("certificate", ["http", "https"])
def test_what_follows_an_answer_is_no_answer(
    certificate: str, tls: Certificates, total_timeout: float | None
) -> None:
    """Bytes after the end of an answer are not taken for the next one, wherever they wait for it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8192\r\n\r\n"
    script: Script = [head, 0.1, b"x" * 8192 + reply(200, b'"no answer"')]  # one record of TLS, read in part
    with (
        Fault(script, reply(200), certificate=tls.good_path if certificate == "https" else None) as server,
        Client(server.url, verify_ssl=tls.ca_path, total_timeout=total_timeout) as client,
    ):
        assert client.read("x") == b"x" * 8192
        assert client.read("x") == {}


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "method"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", "GET"),
        (b"HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close\r\n" + CHUNKED, "GET"),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + CHUNKED, "GET"),
        (b"HTTP/1.1 204 OK\r\nContent-Length: 2\r\n\r\n", "GET"),
        (b"HTTP/1.1 204 OK\r\n" + CHUNKED, "GET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}more", "GET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{}", "HEAD"),
    ],
    ids=["close", "close and chunks", "chunks of HTTP/1.0", "204", "204 with chunks", "more", "HEAD"],
)
def test_connection_is_not_kept(answer: bytes, method: str) -> None:
    """No request is sent after an answer that says "close", or whose end is not sure."""
    with Fault(answer, reply(200)) as server, Client(server.url) as client:
        assert client.request(method, "x").status in (200, 204)
        assert client.read("x") == {}
        assert [request.connection for request in server.received] == [1, 2]


def test_204_that_announces_nothing_keeps_the_connection() -> None:
    """The connection goes on after a 204, also where its Content-Length says 0."""
    bare = b"HTTP/1.1 204 No Content\r\n"
    with Fault(bare + b"\r\n", bare + b"Content-Length: 0\r\n\r\n", reply(200)) as server:
        with Client(server.url) as client:
            assert [client.read("x"), client.read("x"), client.read("x")] == [b"", b"", {}]
        assert server.connections == 1


# TLS


def test_authority_from_a_file(nginx: Nginx, tls: Certificates) -> None:
    """With the path of a PEM file as verify_ssl its authorities are trusted, and no others."""
    with Client(nginx.tls_url, verify_ssl=tls.ca_path) as client:
        assert "records" in client.read("small.json")
    with Client(nginx.tls_url, verify_ssl=str(tls.ca_path)) as client:
        assert "records" in client.read("small.json")
    # The certificate of a server signed nothing.
    with Client(nginx.tls_url, verify_ssl=tls.expired_path) as client, pytest.raises(TLSError):
        client.read("small.json")


def test_authority_from_a_folder(nginx: Nginx, tls: Certificates, tmp_path: Path) -> None:
    """With the path of a folder as verify_ssl the authorities in it are trusted, as OpenSSL names them."""
    openssl = program("openssl", "openssl")
    command = [openssl, "x509", "-noout", "-hash", "-in", str(tls.ca_path)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    with Client(nginx.tls_url, verify_ssl=tmp_path) as client, pytest.raises(TLSError):
        client.read("small.json")
    shutil.copy(tls.ca_path, tmp_path / f"{name}.0")
    (tmp_path / "again").symlink_to(tmp_path)  # another path: what a path holds is read once
    with Client(nginx.tls_url, verify_ssl=tmp_path / "again") as client:
        assert "records" in client.read("small.json")


def test_authority_from_the_environment(nginx: Nginx, tls: Certificates) -> None:
    """SSL_CERT_FILE names the authorities of the platform, as for other programs."""
    script = "import sys, cruds_core; print(list(cruds_core.Client(sys.argv[1]).read('small.json')))"
    assert "records" in run(script, nginx.tls_url, SSL_CERT_FILE=str(tls.ca_path))


def test_verification_off_warns_once(nginx: Nginx) -> None:
    """verify_ssl=False warns when a Client is made, at the line that made it, and never again."""
    urls = (nginx.tls_url, nginx.expired_url, nginx.wrong_name_url)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for url in urls:
            with Client(url, verify_ssl=False) as client:
                assert "records" in client.read("small.json")
                assert "records" in client.read("small.json")
                client.close()
                assert "records" in client.read("small.json")
    assert [warning.category for warning in caught] == [urllib3.exceptions.InsecureRequestWarning] * len(urls)
    assert {warning.filename for warning in caught} == {__file__}


def test_verification_off_is_one_clients(nginx: Nginx) -> None:
    """A Client that does not verify changes nothing for one that does."""
    with pytest.warns(urllib3.exceptions.InsecureRequestWarning):
        careless = Client(nginx.tls_url, verify_ssl=False)
    with careless, Client(nginx.tls_url) as careful:
        assert "records" in careless.read("small.json")
        with pytest.raises(TLSError):
            careful.read("small.json")


def test_context_is_shared(nginx: Nginx, tls: Certificates) -> None:
    """Clients with the same authorities, and all their connections, share one TLS context."""

    def contexts() -> int:
        gc.collect()
        return sum(isinstance(each, ssl.SSLContext) for each in gc.get_objects())

    with Client(nginx.tls_url, verify_ssl=tls.ca_path) as first:
        first.read("small.json")
        before = contexts()
        with Client(nginx.tls_url, verify_ssl=str(tls.ca_path)) as second:
            second.read("small.json")
            first.close()
            first.read("small.json")
            assert contexts() <= before


# Proxies


def test_plain_request_through_a_proxy(proxy: Proxy, nginx: Nginx) -> None:
    """With a ProxyManager a plain request goes to the proxy with an absolute target (RFC 9112, 3.2.2)."""
    with Client(nginx.url, manager=urllib3.ProxyManager(proxy.url)) as client:
        assert "records" in client.read("small.json", {"seen": "plain"})
    assert f"GET {nginx.url}/small.json?seen=plain " in proxy.log()


def test_secure_request_through_a_proxy(proxy: Proxy, nginx: Nginx, tls: Certificates) -> None:
    """With a ProxyManager a secure request goes through a tunnel, and the proxy sees only where to."""
    context = ssl.create_default_context(cafile=tls.ca_path)
    manager = urllib3.ProxyManager(proxy.url, ssl_context=context)
    with Client(nginx.tls_url, auth=Basic("ada", SECRET), manager=manager) as client:
        assert "records" in client.read("small.json", {"seen": "tunnel"})
    log = proxy.log()
    assert f"CONNECT {nginx.tls_url.removeprefix('https://')} " in log
    assert "seen=tunnel" not in log


def test_credentials_of_a_proxy(auth_proxy: Proxy, nginx: Nginx, tls: Certificates) -> None:
    """A proxy that asks for credentials gets those of its manager, for plain and secure requests."""
    manager = urllib3.ProxyManager(
        auth_proxy.url,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=f"{auth_proxy.user}:{auth_proxy.password}"),
        ssl_context=ssl.create_default_context(cafile=tls.ca_path),
    )
    for url in (nginx.url, nginx.tls_url):
        with Client(url, manager=manager) as client:
            assert "records" in client.read("small.json")


def test_tunnel_is_asked_for_without_credentials() -> None:
    """No header of a request, its credentials least of all, is in the CONNECT that a proxy can read."""
    with Fault([b"HTTP/1.1 403 Forbidden\r\n\r\n", End.CLOSE]) as server:
        manager = urllib3.ProxyManager(server.url)
        with Client("https://api.invalid", auth=Basic("ada", SECRET), manager=manager) as client:
            client.request_headers["X-Api-Key"] = SECRET
            with pytest.raises(ProxyError):
                client.read("items", {"key": SECRET}, headers={"Cookie": f"s={SECRET}"})
    (received,) = server.received
    assert (received.method, received.target) == ("CONNECT", "api.invalid:443")
    assert {name.lower() for name in received.headers} <= {"host", "proxy-connection"}


# Threads


def test_threads_have_a_connection_each(caplog: pytest.LogCaptureFixture) -> None:
    """Requests of 32 threads at the same moment open 32 connections, which all of them keep."""
    rounds = 3
    together = threading.Barrier(THREADS)  # no answer is given before all requests are there
    with (
        caplog.at_level(logging.DEBUG),
        Fault([partial(together.wait, 10), reply(200, b"1")]) as server,
        Client(server.url, retries=0, timeout=15) as client,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        for _ in range(rounds):
            assert list(threads.map(client.read, ["x"] * THREADS)) == [1] * THREADS
    assert (len(server.received), server.connections) == (rounds * THREADS, THREADS)
    assert "pool is full" not in caplog.text


def test_threads_share_a_client(api: DemoAPI, caplog: pytest.LogCaptureFixture) -> None:
    """What 32 threads do with one Client is all done once, and each gets its own answer."""
    with (
        caplog.at_level(logging.WARNING),
        Client(api.url, auth=api.token) as client,
        ThreadPoolExecutor(THREADS) as threads,
    ):

        def work(number: int) -> bool:
            made = client.create("users", {"name": f"user {number}"})
            client.update(f"users/{made['id']}", {"number": number})
            return bool(client.read(f"users/{made['id']}") == made | {"number": number})

        assert all(threads.map(work, range(100)))
        assert len(client.read("users")) == 100
    assert len(api.requests) == 301
    assert api.connections <= THREADS
    assert caplog.records == []


# Forks

FORKED = """
import os, sys
from cruds_core import Client

client = Client(sys.argv[1], verify_ssl=sys.argv[2])
connection = lambda: client.request("GET", "small.json").headers["X-Connection"]
before = connection()
child = os.fork()
if not child:
    print(connection(), connection(), flush=True)
    sys.exit()  # as a program ends: with all that is done at exit
_, status = os.waitpid(child, 0)
print(before, connection(), status)
"""


@pytest.mark.parametrize("secure", [False, True])
def test_forked_child_has_its_own_connection(nginx: Nginx, tls: Certificates, secure: bool) -> None:
    """A forked child opens a connection of its own and keeps it; the parent goes on with its own."""
    url = nginx.tls_url if secure else nginx.url
    child, parent = run(FORKED, url, str(tls.ca_path)).splitlines()
    first, second = child.split()
    before, after, status = parent.split()
    assert first == second != before
    assert (after, status) == (before, "0")


IN_USE = """
import os, signal, sys, threading
from cruds_core import AuthABC, Client

class Watched(AuthABC):
    def authenticate(self, request): pass
    def handle_response(self, request, response): started.set()

started = threading.Event()
client = Client(sys.argv[1], auth=Watched(), verify_ssl=sys.argv[2])
answers = []
thread = threading.Thread(target=lambda: answers.append(client.read("parent")))
thread.start()
started.wait(10)  # the head is here, and the content is not
child = os.fork()
if not child:
    signal.alarm(20)
    print(client.read("child"), flush=True)
    sys.exit()
_, status = os.waitpid(child, 0)
thread.join()
print(answers, client.read("again"), status)
"""


@pytest.mark.parametrize("secure", [False, True])
def test_fork_during_a_request(tls: Certificates, secure: bool) -> None:
    """A fork while a thread of the parent reads an answer leaves that answer, and its connection, alone."""
    answered = threading.Event()
    head, content = reply(200, b'"to the parent"').split(b"\r\n\r\n")
    scripts: tuple[Script, ...] = (
        [head + b"\r\n\r\n", partial(answered.wait, 10), content],
        [reply(200, b'"to the child"'), answered.set],
        reply(200, b'"to the parent again"'),
    )
    with Fault(*scripts, certificate=tls.good_path if secure else None) as server:
        lines = run(IN_USE, server.url, str(tls.ca_path)).splitlines()
    assert lines == ["to the child", "['to the parent'] to the parent again 0"]
    assert [(request.target, request.connection) for request in server.received] == [
        ("/parent", 1),
        ("/child", 2),
        ("/again", 1),
    ]


LOCKED = """
import os, signal, sys, threading, urllib3
from cruds_core import AuthABC, Client

class Slow(AuthABC):
    def access_token(self):
        if threading.current_thread() is not threading.main_thread():
            held.release()
            forked.wait(10)
        return "token"
    def is_valid(self): return True

def hold(lock):
    with lock:
        held.release()
        forked.wait(10)

client = Client(sys.argv[1], manager=urllib3.PoolManager())
client.read("x")
pools = client.manager.pools
queue = client.manager.connection_from_url(sys.argv[1]).pool
client = Client(sys.argv[1], auth=Slow(), manager=client.manager)
held, forked = threading.Semaphore(0), threading.Event()
threads = [
    threading.Thread(target=client.read, args=["x"]),
    threading.Thread(target=hold, args=[pools.lock]),
    threading.Thread(target=hold, args=[queue.mutex]),
]
for thread in threads:
    thread.start()
    held.acquire(timeout=10)
child = os.fork()
if not child:
    signal.alarm(20)  # ends a child that waits for ever
    print(client.read("x"), flush=True)
    sys.exit()
_, status = os.waitpid(child, 0)
forked.set()
for thread in threads:
    thread.join()
print(client.read("x"), status)
"""


def test_fork_while_locks_are_held() -> None:
    """A child can send while threads of its parent held the locks of scheme, pools and pool at the fork."""
    with Fault(reply(200, b"1")) as server:
        assert run(LOCKED, server.url).splitlines() == ["1", "1 0"]


# What urllib3 logs


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """What was logged so far, at all levels and by everybody."""
    with caplog.at_level(logging.DEBUG):
        yield lambda: caplog.text


def test_log_has_no_query(debug: Callable[[], str]) -> None:
    """What urllib3 logs of our requests has path and status, but no query: neither ours nor a scheme's."""
    scripts: list[Script] = [
        reply(503),
        reply(302, Location=f"/there?token={SECRET}"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n: no name\r\n\r\n{}",  # urllib3 warns of such a head
        End.CLOSE,
    ]
    scheme = ApiKey("key", SECRET, location="query")
    with Fault(*scripts) as server, Client(server.url, auth=scheme, retries=1, backoff_factor=0) as client:
        client.read("here", {"q": SECRET})
        with pytest.raises(RequestError):
            client.read("gone", {"q": SECRET})
    text = debug()
    assert '"GET /here HTTP/1.1" 503' in text
    assert '"GET /there HTTP/1.1" 200' in text
    assert "Failed to parse headers" in text
    assert SECRET not in text


def test_log_has_no_query_through_a_proxy(debug: Callable[[], str]) -> None:
    """Through a plain proxy, whose target is absolute, no query is logged either."""
    with (
        Fault(reply(200)) as server,
        Client("http://api.invalid", manager=urllib3.ProxyManager(server.url)) as client,
    ):
        client.read("items", {"q": SECRET})
    assert server.received[0].target == f"http://api.invalid/items?q={SECRET}"
    assert '"GET http://api.invalid/items HTTP/1.1" 200' in debug()
    assert SECRET not in debug()


def test_log_of_others_is_whole(debug: Callable[[], str]) -> None:
    """What urllib3 logs of others' requests is as it was, before and after ours, failed ones among them."""
    with Fault(reply(200), End.CLOSE, reply(200)) as server, Client(server.url, retries=0) as client:
        client.read("ours", {"q": 1})
        with pytest.raises(RequestError):
            client.read("ours", {"q": 2})
        urllib3.PoolManager().request("GET", f"{server.url}/theirs?q=3")
    assert "/theirs?q=3 " in debug()
    assert "/ours?" not in debug()


def test_log_of_other_threads_is_whole(debug: Callable[[], str]) -> None:
    """While one thread sends for us, what urllib3 logs of another thread's request is as it was."""
    arrived, theirs = threading.Event(), threading.Event()
    scripts: list[Script] = [[arrived.set, partial(theirs.wait, 10), reply(200)], reply(200)]
    with Fault(*scripts) as server, Client(server.url) as client, ThreadPoolExecutor(1) as thread:
        ours = thread.submit(client.read, "ours", {"q": 1})
        arrived.wait(10)
        urllib3.PoolManager().request("GET", f"{server.url}/theirs?q=2")
        theirs.set()
        ours.result(10)
    assert "/theirs?q=2 " in debug()
    assert "/ours " in debug()
    assert "/ours?" not in debug()
