"""Checks that one scheme serves many: threads, Clients and forked processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from time import sleep
from typing import TYPE_CHECKING
from unittest import SkipTest

from ..exceptions import ClientError
from .loopback import Received
from .subject import LIMIT, Subject, client_of, needs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ..auth import AuthABC
    from ..client import Client
    from .loopback import Loopback
    from .server import Reply

THREADS = 32
FORKS = 3

#: Said of a forked child that does not end.
STUCK = f"stuck for {LIMIT:.0f} s"

#: Said of one that ends before it could say anything, as by a signal.
KILLED = "it ended in the midst, without a word"

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

            self._within("requests of two Clients in 8 threads", lambda: at_once(8, call))
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
            reason = "there is no fork here"
            raise SkipTest(reason)
        with self._serve() as server:
            server.service = self._slow(server.service)
            auth = self._build(server)
            client = client_of(server, auth)
            client.read("parent")  # else a child may wait for what another thread was importing
            with busy(4, lambda: client.read("parent")):
                for _ in range(FORKS):
                    sleep(PAUSE / 2)
                    self._check_child(lambda: client.read("child"))
                with _held(auth):
                    self._check_child(lambda: client.read("child"))
            client.close()
            for request in self._accepted(server):
                self._check(request, f"{request.method} of a process that forked, or of its child")

    def _check_child(self, call: Callable[[], object]) -> None:
        """Fail unless a forked child can do something."""
        said = in_child(call)
        if said == STUCK:
            self._fail(
                f"a forked child was {STUCK}.\n"
                "A lock that another thread held when the process forked stays held in the child: use "
                "cruds_core.ForkSafeLock, or make the lock anew with os.register_at_fork()."
            )
        if said:
            self._fail(
                f"a forked child could not send a request: {said}\n"
                "What belongs to one process, such as a connection or a thread, must be made anew in a child."
            )

    def _renewed(self, server: Loopback, who: str, client: Client, auth: AuthABC) -> None:
        """Have 32 threads send a request at once, and hold them to one new token."""
        start, asked = len(server.calls), len(server.others)
        try:
            self._within(
                f"requests of {THREADS} threads", lambda: at_once(THREADS, lambda _: client.read("thing"))
            )
        except ClientError as error:
            self._fail(
                f"one of {THREADS} threads {who} was refused with {error.status} in the end.\n"
                "After a 401, handle_challenge() must return True once there is another token: AuthABC gets "
                "it from renew(failed)."
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


def at_once(count: int, call: Callable[[int], object]) -> None:
    """Call something in so many threads that begin together."""
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait(LIMIT)  # not for ever, where the system gives fewer threads
        call(number)

    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(run, number) for number in range(count)]:
            done.result()


@contextmanager
def busy(count: int, call: Callable[[], object]) -> Generator[None]:
    """Call something again and again in so many threads, which change places as often as CPython can."""
    stop, interval = threading.Event(), sys.getswitchinterval()

    def run() -> None:
        while not stop.wait(0.001):
            call()

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(run) for _ in range(count)]
        sys.setswitchinterval(1e-6)
        try:
            yield
        finally:
            sys.setswitchinterval(interval)
            stop.set()
        for each in running:
            each.result()


@contextmanager
def _held(auth: AuthABC) -> Generator[None]:
    """Hold the plain locks of a scheme, as another thread may at any moment."""
    kinds = (type(threading.Lock()), type(threading.RLock()))
    locks = [one for one in getattr(auth, "__dict__", {}).values() if isinstance(one, kinds)]
    with ThreadPoolExecutor(1) as other:  # one thread, which an RLock knows
        held = [one for one in locks if other.submit(one.acquire, timeout=1).result()]
        try:
            yield
        finally:
            for one in held:
                other.submit(one.release).result()


def in_child(call: Callable[[], object], once_forked: Callable[[], object] = lambda: None) -> str:
    """What keeps a forked child from doing something: "" if nothing does, STUCK if it does not end."""
    return in_children(1, call, once_forked)


def in_children(
    count: int, call: Callable[[], object], once_forked: Callable[[], object] = lambda: None
) -> str:
    """What keeps one of so many forked children from doing something at a time."""
    children = [_fork(call) for _ in range(count)]
    try:
        once_forked()
        # Not by select(), which takes no number of a file above 1023.
        said = [
            os.read(reads, 4000).decode() or KILLED if wait([reads], LIMIT) else STUCK
            for _, reads in children
        ]
    finally:
        for child, reads in children:
            os.close(reads)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return next((words for each in said if (words := each.strip())), "")


def _fork(call: Callable[[], object]) -> tuple[int, int]:
    """A child that does something, and where it says what kept it from that."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that threads are running is the point
        child = os.fork()
    if child == 0:
        said = ""
        try:
            call()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writes, said.encode("utf-8", "replace")[:4000] or b"\n")
            os._exit(0)
    os.close(writes)
    return child, reads
