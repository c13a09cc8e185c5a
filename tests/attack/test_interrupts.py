"""Interrupted: a signal that raises anywhere leaves locks, connections and tokens fit to be used."""

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FrameType
from typing import Any

import pytest

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuthStoreLockedError, TokenStore
from cruds_core import AuthABC, Client
from cruds_core.lock import ForkSafeLock, RenewalLock

#: Interrupts in each test: more with CRUDS_TEST_INTERRUPTS.
COUNT = int(os.environ.get("CRUDS_TEST_INTERRUPTS", "150"))

LIMIT = 20.0  # seconds that something may take afterwards

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system"),
    # What an interrupted request held is closed when it is collected.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Storm:
    """Raises a KeyboardInterrupt in the main thread, once for each time that it is asked to."""

    def __init__(self) -> None:
        self.armed = False
        self.hits = 0
        self.random = random.Random(7)
        self.scale = 1.0  # of what is waited at most: smaller after each miss, so that it suits the machine

    def __call__(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            self.hits += 1
            raise KeyboardInterrupt

    def interrupt(self, work: Callable[[], object], within: float) -> None:
        """Do something that is interrupted at any moment of some seconds, if it takes as long."""
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, self.random.uniform(1e-6, self.scale * within))
            work()
            self.armed = False
            self.scale /= 1.2
        except KeyboardInterrupt:
            self.scale *= 1.02
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture
def storm() -> Iterator[Storm]:
    """What interrupts."""
    storm = Storm()
    before = signal.signal(signal.SIGALRM, storm)
    yield storm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def in_another_thread(call: Callable[[], object]) -> object:
    """Do something in a new thread, in time."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call).result(LIMIT)
    finally:
        pool.shutdown(wait=False)


def hold(lock: ForkSafeLock) -> None:
    """Take a lock, again and again."""
    for _ in range(2000):
        with lock:
            pass


def hold_if_free(lock: ForkSafeLock) -> None:
    """Take a lock without waiting, again and again."""
    for _ in range(2000):
        with lock.if_free:
            pass


@pytest.mark.parametrize("take", [hold, hold_if_free])
@pytest.mark.parametrize("lock", [ForkSafeLock(), RenewalLock("Scheme")], ids=["plain", "renewal"])
def test_a_lock_is_free_after_an_interrupt(
    storm: Storm, lock: ForkSafeLock, take: Callable[[ForkSafeLock], None]
) -> None:
    """A signal that raises while a lock is taken, held or given back leaves it free."""
    while storm.hits < 4 * COUNT:
        storm.interrupt(partial(take, lock), 3e-4)
        assert not lock.is_mine, f"held after {storm.hits} interrupts"


@pytest.mark.parametrize("lock", [ForkSafeLock(), ForkSafeLock().if_free, RenewalLock("Scheme")])
def test_what_takes_a_lock_is_one_step(lock: ForkSafeLock) -> None:
    """What ``with`` calls of our locks is written in C: CPython sees no signal in its midst."""
    kinds = (BuiltinFunctionType, type(iter(()).__next__))
    assert isinstance(lock.__enter__, kinds)
    assert isinstance(lock.__exit__, kinds)


def test_a_lock_that_another_thread_has() -> None:
    """A lock that another thread has is not to be had at once, and one that is given back is."""
    lock = ForkSafeLock()

    def attempt() -> str:
        with suppress(StopIteration), lock.if_free:
            return "had"
        return "not had"

    with lock:
        assert lock.is_mine
        assert (attempt(), in_another_thread(attempt)) == ("not had", "not had")
    assert (attempt(), in_another_thread(attempt), lock.is_mine) == ("had", "had", False)


class Counted(AuthABC):
    """Has a token that is of no more use after three requests."""

    def __init__(self) -> None:
        self.given = self.left = 0

    def access_token(self) -> str:
        time.sleep(0.0002)
        self.given, self.left = self.given + 1, 3
        return f"token-{self.given}"

    def is_valid(self) -> bool:
        self.left -= 1
        return self.left > 0


def test_a_client_goes_on_after_an_interrupt(storm: Storm) -> None:
    """Requests and renewals that are interrupted anywhere leave no lock held and no connection in the way."""
    files, numbers = count_files(), itertools.count()
    accepts: Callable[[str], bool] = lambda token: token.startswith("token-")  # noqa: E731
    with DemoAPI(token=accepts) as api, Client(api.url, auth=Counted()) as client:
        for _ in range(COUNT):
            storm.interrupt(lambda: client.read("health"), 3e-3)
            storm.interrupt(lambda: client.create("things", {"name": f"{next(numbers)}"}), 3e-3)
        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(client.read, "health") for _ in range(20)]
            assert len({str(each.result(LIMIT)) for each in done}) == 1
    assert storm.hits > COUNT / 3
    assert count_files() < files + 40  # the server's side of what is open, and that of the last error


class Shelf(TokenStore):
    """Keeps records in memory, under a lock that a generator holds, as those of ours do."""

    @property
    def protects(self) -> bool:
        return True

    def __init__(self) -> None:
        self.records: dict[str, str] = {}
        self.lease = ForkSafeLock()

    def load(self, key: str) -> str | None:
        return self.records.get(key)

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        self.records[key] = record

    def delete(self, key: str) -> None:
        self.records.pop(key, None)

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        try:
            with self.lease.if_free:
                yield
        except StopIteration:
            raise OAuthStoreLockedError(key) from None


@pytest.mark.parametrize("store", [None, Shelf()], ids=["memory", "store"])
def test_a_token_is_renewed_after_an_interrupt(
    storm: Storm, authority: AuthorizationServer, store: TokenStore | None
) -> None:
    """A grant that is interrupted anywhere, with a store or without, leaves no lock held."""
    url, client = authority.token_url, (authority.client_id, authority.client_secret)
    auth = OAuth2(url, *client, "read", store=store)
    for _ in range(COUNT):
        storm.interrupt(auth.access_token, 8e-3)
        storm.interrupt(auth.clear, 1e-3)
    assert storm.hits > COUNT / 3
    auth.clear()
    assert in_another_thread(auth.access_token)
    assert in_another_thread(OAuth2(url, *client, "read", store=store).access_token)


def count_files() -> int:
    """Returns how many file descriptors are open."""
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


def test_a_download_that_is_interrupted_at_any_step(tmp_path: Path) -> None:
    """A download that is interrupted at any line of ours leaves the whole file, or none."""
    with DemoAPI() as api, Client(api.url) as client:
        whole = len(client.request("GET", "health").content)
        step = 0
        while not (tmp_path / "health").exists():
            step += 1
            try:
                # In a thread of its own: CPython 3.11 leaves it with an exception that is handled for ever.
                with ThreadPoolExecutor(1, initializer=interrupt, initargs=(step,)) as thread:
                    thread.submit(client.download, "health", tmp_path).result()
            except KeyboardInterrupt:
                found = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
                assert found in ({}, {"health": whole}), f"after step {step}"
                (tmp_path / "health").unlink(missing_ok=True)
    assert step > 10


FILES = ("download.py", "pathlib.py", "_local.py")  # the last is that of newer Pythons
FUNCTIONS = {"__call__", "_publish", "open", "exists", "touch", "replace", "unlink"}


def interrupt(step: int) -> None:
    """Raises a KeyboardInterrupt before a line of a download in this thread, as a signal may."""
    steps = itertools.count()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        code = frame.f_code
        if code.co_name not in FUNCTIONS or not code.co_filename.endswith(FILES):
            return None
        if event == "line" and next(steps) == step:
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
