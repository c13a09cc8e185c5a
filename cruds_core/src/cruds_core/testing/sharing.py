"""Checks that one scheme serves many: threads, Clients and forked processes."""

from __future__ import annotations

import os
import select
import signal
import threading
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import sleep
from typing import TYPE_CHECKING

from .loopback import Received
from .subject import LIMIT, Subject, client_of, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ..auth import AuthABC
    from ..client import Client
    from .loopback import Loopback
    from .server import Reply

THREADS = 32
FORKS = 5

#: Seconds that a scheme's server takes, so that threads meet.
PAUSE = 0.05


class Sharing(Subject):
    """The checks."""

    def test_two_clients_share_it(self) -> None:
        """Two Clients use one scheme in several threads, and one that is closed leaves the other be."""
        with self._serve() as server:
            auth = self._build(server)
            first, second = client_of(server, auth), client_of(server, auth)

            def call(number: int) -> None:
                client = (first, second)[number % 2]
                client.create(f"thing/{number}", {"number": number}, {"q": str(number)})

            self._within("requests of two Clients in 8 threads", lambda: _at_once(8, call))
            first.close()
            self._within("a request after another Client was closed", lambda: second.read("thing"))
            second.close()
            for request in self._accepted(server):
                self._check(request, f"{request.method} by one of two Clients in 8 threads")

    @needs("renews_tokens")
    def test_one_renewal_serves_32_threads(self) -> None:
        """32 threads without a token get one, and one more when it is refused; and when it expires."""
        refused: set[str] = set()
        with self._serve() as server:

            def api(request: Received) -> Reply:
                return self._refuse(request) if self._token(request) in refused else self._protected(request)

            server.api, server.service = api, self._slow(server.service)
            auth = self._build(server)
            with client_of(server, auth) as client:
                self._renewed(server, "that have no token yet", client, auth)
                refused.add(self._token(server.calls[-1]))
                self._renewed(server, "whose token is refused with 401", client, auth)
                if type(self).expire is not Subject.expire:
                    self.expire(auth)
                    self._renewed(server, "whose token has expired", client, auth)

    def test_it_works_after_a_fork(self) -> None:
        """A child that is forked while threads use the scheme can use it, too."""
        if not hasattr(os, "fork"):
            return
        with self._serve() as server:
            server.service = self._slow(server.service)
            auth = self._build(server)
            client = client_of(server, auth)
            with _busy(4, lambda: client.read("parent")):
                for number in range(FORKS):
                    sleep(PAUSE / 2)
                    place = f"child/{number}"
                    if not _in_child(lambda: client.read(place)):  # noqa: B023
                        self._fail(
                            "a forked child could not send a request.\n"
                            "A lock that another thread held at that moment stays held in the child: use "
                            "cruds_core.ForkSafeLock, or make it anew with os.register_at_fork()."
                        )
            client.close()
            for request in self._accepted(server):
                self._check(request, f"{request.method} of a process that forked, or of its child")

    def _renewed(self, server: Loopback, who: str, client: Client, auth: AuthABC) -> None:
        """Have 32 threads send a request at once, and hold them to one new token."""
        start, asked = len(server.calls), len(server.others)
        self._within(
            f"requests of {THREADS} threads", lambda: _at_once(THREADS, lambda _: client.read("thing"))
        )
        tokens = Counter(self._token(request) for request in server.calls[start:])
        fresh = set(tokens) - {self._token(request) for request in server.calls[:start]}
        steps = [one.target for one in server.others[asked:]]
        if len(fresh) != 1 or any(count > 1 for count in Counter(steps).values()):
            self._fail(
                f"{THREADS} threads {who} got {len(fresh)} new tokens, by {len(steps)} requests elsewhere.\n"
                "Let one thread renew while the others wait, and look again when it is done: AuthABC does so "
                "for a scheme that defines access_token() and is_valid(). A server that rotates tokens "
                "revokes them all otherwise."
            )

    def _token(self, request: Received) -> str:
        return request.headers.get(self.sends_header or "Authorization", "")

    def _accepted(self, server: Loopback) -> list[Received]:
        """What was sent to the API, but for what a challenge had to ask for."""
        return [one for one in server.calls if not self.answers_challenge or self._is_verified(one)]

    def _slow(self, service: Callable[[Received], Reply]) -> Callable[[Received], Reply]:
        def respond(request: Received) -> Reply:
            sleep(PAUSE)
            return service(request)

        return respond


def _at_once(count: int, call: Callable[[int], object]) -> None:
    """Call something in so many threads that begin together."""
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        call(number)

    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(run, number) for number in range(count)]:
            done.result()


@contextmanager
def _busy(count: int, call: Callable[[], object]) -> Generator[None]:
    """Call something again and again in so many threads."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            call()

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(run) for _ in range(count)]
        try:
            yield
        finally:
            stop.set()
        for each in running:
            each.result()


def _in_child(call: Callable[[], object]) -> bool:
    """Whether something can be done in a forked child, in time."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that threads are running is the point
        child = os.fork()
    if child == 0:
        try:
            call()
            os.write(writes, b"1")
        finally:
            os._exit(0)
    os.close(writes)
    try:
        return bool(select.select([reads], [], [], LIMIT)[0]) and os.read(reads, 1) == b"1"
    finally:
        os.close(reads)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
