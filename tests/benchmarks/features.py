"""What clients do by themselves: the facts of the README's table that can be tried.

Run it with an interpreter that has the client, one of requests, httpx, authlib (with requests) and cruds of
any version: ``python tests/benchmarks/features.py authlib``. Only the standard library is needed beside it.
"""

import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qs

THREADS = 32
FILE = 64 << 20  # bytes


class Server(ThreadingHTTPServer):
    """An API and a token endpoint, which remember what they were asked."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.statuses: list[int] = []
        self.away = ""
        self.rotates = False
        self.lifetime = 3600  # seconds, as the token endpoint tells it
        self.lock = threading.Lock()
        self.access: set[str] = set()
        self.refresh: set[str] = set()
        self.token_requests = 0
        super().__init__(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    def grant(self, form: dict[str, list[str]]) -> tuple[int, dict[str, object]]:
        """Answer a token request. Reuse of a refresh token revokes all (RFC 9700, section 4.14.2)."""
        with self.lock:
            self.token_requests += 1
            used = form.get("refresh_token", [""])[0]
            if used and used not in self.refresh:
                self.access.clear()
                self.refresh.clear()
                return 400, {"error": "invalid_grant"}
            self.refresh.discard(used)
            token = f"token-{self.token_requests}"
            self.access.add(token)
            answer: dict[str, object] = {"access_token": token, "token_type": "Bearer"}
            answer["expires_in"] = self.lifetime
            if self.rotates:
                answer["refresh_token"] = f"refresh-{self.token_requests}"
                self.refresh.add(f"refresh-{self.token_requests}")
            return 200, answer

    def allows(self, authorization: str) -> bool:
        """Say whether a token was given out, and not revoked."""
        with self.lock:
            return authorization.removeprefix("Bearer ") in self.access


class Connection(BaseHTTPRequestHandler):
    """A connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def answer(self) -> None:
        """Answer by the path."""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers))
        status, answer, more = 200, dict[str, object](ok=True), dict[str, str]()
        if self.path == "/token":
            time.sleep(0.05)
            status, answer = self.server.grant(parse_qs(content.decode()))
        elif self.path == "/guarded":
            status = 200 if self.server.allows(headers.get("authorization", "")) else 401
        elif self.path == "/away":
            status, more = 302, {"Location": f"{self.server.away}/there"}
        elif self.path == "/cookie":
            more = {"Set-Cookie": "a=b; Path=/"}
        elif self.server.statuses:
            status = self.server.statuses.pop(0)
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **more}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


Call = Callable[..., Any]


def of_requests(server: Server) -> tuple[Call, Call | None]:
    """A call by requests."""
    session: Any = import_module("requests").Session()

    def call(method: str, path: str, **more: Any) -> Any:
        return session.request(method, server.url + path, **more)

    return call, None


def of_httpx(server: Server) -> tuple[Call, Call | None]:
    """A call by httpx, which follows redirects when it is told to."""
    client: Any = import_module("httpx").Client(base_url=server.url, follow_redirects=True)
    return client.request, None


def of_authlib(server: Server) -> tuple[Call, Call | None]:
    """A call by Authlib on requests, and one with a token."""
    module: Any = import_module("authlib.integrations.requests_client")

    def with_token() -> Call:
        grant = {} if server.rotates else {"grant_type": "client_credentials"}
        session = module.OAuth2Session("c", "s", token_endpoint=f"{server.url}/token", leeway=0, **grant)
        user = {"username": "u", "password": "p"} if server.rotates else {}
        session.fetch_token(f"{server.url}/token", **user)
        return lambda: session.get(f"{server.url}/guarded").status_code

    return of_requests(server)[0], with_token


def of_cruds(server: Server) -> tuple[Call, Call | None]:
    """A call by cruds, and one with a token."""
    cruds: Any = import_module("cruds")
    client: Any = cruds.Client(server.url, backoff_factor=0)

    def call(method: str, path: str, headers: dict[str, str] | None = None, files: Any = None) -> Any:
        client.request_headers = headers or {}
        return client.read(path) if method == "GET" else client.create(path, None, files=files)

    def with_token() -> Call:
        user = {"username": "u", "password": "p"} if server.rotates else {}
        oauth2 = import_module("cruds.auth").OAuth2(
            f"{server.url}/token", "c", "s", "read", encryption_key="a key", **user
        )
        client = cruds.Client(server.url, auth=oauth2)
        client.read("guarded")
        return lambda: bool(client.read("guarded")) and 200

    return call, with_token


CLIENTS = {"requests": of_requests, "httpx": of_httpx, "authlib": of_authlib, "cruds": of_cruds}


def outcome(call: Call, *args: Any, **more: Any) -> str:
    """Return the type of what a call returns, or raises."""
    try:
        return f"returns {type(call(*args, **more)).__name__}"
    except Exception as error:
        return f"raises {type(error).__name__}"


def stampede(name: str, server: Server, with_token: Call, *, rotates: bool) -> str:
    """Let threads find an expired token, and return what came of it."""
    # cruds 1.x takes 30 s off what it is told.
    server.rotates, server.lifetime = rotates, 31 if (name, version(name)[0]) == ("cruds", "1") else 1
    call = with_token()
    time.sleep(1.2)
    server.lifetime, before = 3600, server.token_requests
    together = threading.Barrier(THREADS)

    def one(_: int) -> str:
        together.wait()
        try:
            return str(call())
        except Exception as error:
            return type(error).__name__

    with ThreadPoolExecutor(THREADS) as threads:
        came = Counter(threads.map(one, range(THREADS)))
    return f"{server.token_requests - before} token requests; {dict(came)}"


def main(name: str) -> None:
    """Try a client, and print what it did."""
    print(name, version(name))
    server, other = Server(), Server()
    server.away = other.url
    make = CLIENTS[name]
    call, with_token = make(server)
    print("200:", outcome(call, "GET", "/x"))
    for method, status in (("GET", 404), ("GET", 503), ("POST", 500)):
        server.statuses = [status] * 9
        before = len(server.requests)
        told = outcome(call, method, "/x")
        print(f"{method}, {status}: {told}, {len(server.requests) - before} requests")
        server.statuses = []
    told = outcome(call, "GET", "/away", headers={"X-API-Key": "k"})
    print("redirect to another origin:", told, [headers.get("x-api-key") for *_, headers in other.requests])
    with suppress(Exception):
        call("GET", "/cookie")
    call("GET", "/x")
    print("cookies:", server.requests[-1][2].get("cookie"))
    with tempfile.TemporaryFile() as file:
        file.truncate(FILE)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # The server reads it whole, in this process: that is not the client's.
        told = outcome(call, "POST", "/x", files={"file": file})
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        beside = (grown - FILE) / FILE
        print(f"a file of {FILE >> 20} MiB: {told}, {beside:+.1f} times its size beside the server's")
    os.environ["HTTP_PROXY"], os.environ["NO_PROXY"] = other.url, ""
    before = len(other.requests)
    told = outcome(make(server)[0], "GET", "/x")
    print("proxy of the environment:", told, "used" if len(other.requests) > before else "not used")
    del os.environ["HTTP_PROXY"]
    if with_token is None:
        return
    for rotates in (False, True):
        print(
            "expired, a refresh token for one use:" if rotates else "expired:",
            stampede(name, server, with_token, rotates=rotates),
        )
    server.rotates = False
    call = with_token()
    server.access.clear()
    before = len(server.requests)
    told = outcome(call)
    print("a revoked token:", told, [path for _, path, _ in server.requests[before:]])


if __name__ == "__main__":
    main(sys.argv[1])
