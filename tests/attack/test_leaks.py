"""Counted: files, threads, memory and objects stay as they are, however many requests there are."""

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from attack.server import ANSWERS, serve
from cruds_auth_basic import Digest
from cruds_auth_oauth2 import OAuth2
from cruds_core import Client, CrudsError

#: Requests of each kind: `make leaks` has 100 000.
COUNT = int(os.environ.get("CRUDS_TEST_REQUESTS", "400"))

# Blocks of memory that CPython may hold more of, for what it keeps for later. One more for each request
# would be COUNT of them.
BLOCKS = 300
MEMORY = 6 << 20  # bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts what /proc/self tells")

FAULTS = [name for name in ANSWERS if name not in ("ok", "token")]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server."""
    with serve() as url:
        yield url


def counted() -> tuple[int, int, int, int]:
    """Returns how many files, threads, bytes of memory and blocks of it this process has."""
    for _ in range(3):
        gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no objects of its own
    return files, threading.active_count(), pages * os.sysconf("SC_PAGE_SIZE"), sys.getallocatedblocks()


def stays(call: Callable[[int], object]) -> None:
    """Do something many times, and hold what this process has to what it had after the first."""
    for number in range(150):
        call(number)
    before = counted()
    for number in range(COUNT):
        call(number)
    after = counted()
    files, threads, memory, blocks = (now - then for now, then in zip(after, before, strict=True))
    assert threads == 0
    assert files <= 1  # the connection of the last one
    assert blocks < BLOCKS
    assert memory < MEMORY


def fails(call: Callable[[], object]) -> None:
    """Do something that fails. pytest.raises() would keep something of each."""
    try:
        call()
    except CrudsError:
        return
    raise AssertionError("it did not fail")


def test_answers_leave_nothing(server: str) -> None:
    """Requests that are answered leave no file, thread, memory or object behind."""
    with Client(server, auth="t0ken-0123456789") as client:
        stays(lambda number: client.create("ok", {"number": number}, params={"n": number}))


def test_errors_leave_nothing(server: str) -> None:
    """Requests that fail in any way, from a status to a broken head, leave nothing behind."""
    with Client(server, auth="t0ken-0123456789", retries=0, max_response_size=1000) as client:

        def fail(number: int) -> None:
            fails(lambda: client.read(FAULTS[number % len(FAULTS)], {"n": number % 3}))

        stays(fail)


def test_refused_connections_leave_nothing() -> None:
    """Requests to a port where nobody listens leave nothing behind."""
    with Client("127.0.0.1:1", retries=0) as client:

        def fail(number: int) -> None:
            fails(lambda: client.read("thing", {"n": number % 3}))

        stays(fail)


def test_clients_leave_nothing(server: str) -> None:
    """Clients that are made, used, and closed or just dropped, leave nothing behind."""

    def use(number: int) -> None:
        client = Client(server, auth=("ada", "pässword")) if number % 2 else Client(server)
        client.read("ok")
        if number % 3:
            client.close()

    stays(use)


def test_renewals_leave_nothing(server: str) -> None:
    """Tokens that expire at once, and are renewed for each request, leave nothing behind."""
    auth = OAuth2(f"{server}/token", "app", "a client secret", "read", username="ada", password="a password")
    with Client(server, auth=auth) as client:
        stays(lambda _: client.read("ok"))
    auth.close()


def test_challenges_leave_nothing(server: str) -> None:
    """Challenges of Digest that are answered in vain, by threads that come and go, leave nothing behind."""
    auth = Digest("ada", "a password")
    with Client(server, auth=auth, retries=0) as client:

        def ask() -> None:
            with suppress(CrudsError):
                client.read("refused")

        def fail(number: int) -> None:
            if number % 10:
                return ask()
            thread = threading.Thread(target=ask)
            thread.start()
            return thread.join()

        stays(fail)


def test_sign_ins_leave_nothing() -> None:
    """Sign-ins that nobody completes are forgotten."""
    auth = OAuth2(
        "https://auth.example.com/token",
        "app",
        "a client secret",
        "read",
        authorization_url="https://auth.example.com/authorize",
        redirect_uri="https://app.example.com/back",
    )
    for _ in range(1001):  # as many as are remembered
        auth.get_authorization_url()
    stays(lambda _: auth.get_authorization_url())
