"""Threads that change places at every step share one Client and one token."""

import itertools
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from attack.server import serve
from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_auth_basic import Digest
from cruds_auth_oauth2 import OAuth2
from cruds_core import AuthABC, Client, Request
from cruds_core.testing.sharing import busy, in_child

THREADS = 8


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Threads change places as often as CPython can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_each_row_is_made_once() -> None:
    """8 threads on one Client make each thing once, and read their own."""
    numbers = itertools.count()
    with AuthorizationServer() as authority, DemoAPI(token=authority.is_active) as api:
        auth = OAuth2(authority.token_url, authority.client_id, authority.client_secret, "read")
        with Client(api.url, auth=auth) as client:

            def work(_: int) -> None:
                for _ in range(6):
                    name = f"thing {next(numbers)}"
                    made = client.create("things", {"name": name})
                    assert client.read(f"things/{made['id']}")["name"] == name

            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(work, range(THREADS)))
            names = [thing["name"] for thing in client.read("things", {"limit": 1000})]
        assert sorted(names) == sorted(f"thing {number}" for number in range(6 * THREADS))
        assert len(authority.token_requests) == 1


def test_a_token_is_cleared_while_it_is_used() -> None:
    """Threads that clear the token, renew it and use it have one each time, and wait for nobody for ever."""
    with AuthorizationServer() as authority:
        auth = OAuth2(authority.token_url, authority.client_id, authority.client_secret, "read")

        def work(number: int) -> None:
            for _ in range(10):
                token = auth.access_token()
                assert token
                if number % 4 == 0:
                    auth.clear()
                elif number % 4 == 1:
                    assert auth.renew(token)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS), timeout=60))


def test_forked_at_any_step() -> None:
    """A child reads, and gets a token, that is forked while other threads do so."""
    with AuthorizationServer() as authority, DemoAPI(token=authority.is_active) as api:
        auth = OAuth2(authority.token_url, authority.client_id, authority.client_secret, "read")
        with Client(api.url, auth=auth) as client:

            def work() -> None:
                assert auth.renew(auth.access_token())
                assert client.read("things") == []

            work()  # else a child may wait for what another thread was importing
            with busy(4, work):
                assert not any(in_child(work) for _ in range(50))


def test_closed_while_it_is_used() -> None:
    """A Client that one thread closes again and again serves the others."""
    with serve() as url, Client(url, auth=Digest("ada", "a password"), retries=4) as client:

        def work(number: int) -> None:
            for _ in range(20):
                if number == 0:
                    client.close()
                else:
                    assert client.read("ok") == {"id": 1, "name": "thing"}

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS), timeout=60))


class Watching(AuthABC):
    """Notes one of the headers of each request."""

    def __init__(self) -> None:
        self.seen: set[str | None] = set()

    def authenticate(self, request: Request) -> None:
        self.seen.add(request.headers.get("X-Version"))


@pytest.mark.parametrize("replaces", [False, True])
def test_headers_are_changed_while_they_are_used(replaces: bool) -> None:
    """Headers for every request that a thread changes or replaces are whole for the others."""
    auth, whole = Watching(), {f"X-{number}": "some" for number in range(40)} | {"X-Version": "1"}
    with serve() as url, Client(url, auth=auth) as client:
        client.request_headers = whole

        def change() -> None:
            if replaces:
                client.request_headers = whole
                return
            others = [f"X-Other-{number}" for number in range(40)]
            for name in others:
                client.request_headers[name] = "some"
            for name in others:
                client.request_headers.discard(name)

        with busy(2, change):
            for _ in range(300):
                client.read("ok")
                pickle.dumps(client.request_headers)
    assert auth.seen == {"1"}


def read(url: str) -> str:
    """Returns what a process reads."""
    with Client(url) as client:
        return str(client.read("ok")["name"])


def test_a_spawned_process() -> None:
    """A process that is spawned reads, too; for those that are forked see test_pool.py."""
    with serve() as url, multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(read, [url]).get(60) == "thing"


FIRST = """
import sys
from contextlib import suppress
from cruds_auth_oauth2 import FileStore, OAuth2
from cruds_core import Client, CrudsError

token_url, api_url, folder, key = sys.argv[1:]
store = {"store": FileStore(folder), "encryption_key": key}
auth = OAuth2(token_url, "a client", lambda: "a secret", "read", **store)
unknown = OAuth2(token_url, "another", "of no use", "read")
with Client(api_url, auth=auth) as client:
    before = set(sys.modules)
    client.read("health")
    client.create("things", {"name": "a thing"})
    client.download("health", folder)
    with suppress(CrudsError):
        client.create("things", None, files={"file": ("name.txt", b"content")})
    with suppress(CrudsError):
        unknown.access_token()
    print(sorted(set(sys.modules) - before))
"""


def test_the_first_request_imports_nothing(tmp_path: Path) -> None:
    """A first request imports nothing: a child that was forked meanwhile would wait for it for ever."""
    with (
        AuthorizationServer(client_id="a client", client_secret="a secret") as authority,
        DemoAPI(token=authority.is_active) as api,
    ):
        urls = [authority.token_url, api.url]
        arguments = [*urls, str(tmp_path / "tokens"), Fernet.generate_key().decode()]
        command = [sys.executable, "-c", FIRST, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
