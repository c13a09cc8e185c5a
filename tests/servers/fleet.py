"""Processes that share a store, and do what they are told."""

import ctypes
import logging
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

import pytest

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import FileStore, OAuth2, OAuthAccessTokenError, RedisStore, TokenStore

from .relay import loopback_up, to_path

REDIRECT_URI = "http://127.0.0.1:1/callback"
USER = "ada"
TESTS = Path(__file__).parents[1]
TIMEOUT = 10.0  # seconds to wait for the token endpoint
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000  # unshare(2)
MARGIN = 1.0  # seconds that those who wait for a lock give it beyond the end of its lease, in a process

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "redis"])


@dataclass(frozen=True)
class Setting:
    """What the processes of a fleet are made with.

    Attributes:
        store: A folder, or the URL of a Redis.
        lease: Seconds of the lease of a renewal.
        relays: The path of a socket behind a port, for a host of its own.
    """

    token_url: str
    client_id: str
    client_secret: str
    key: str
    store: str
    lease: float = 30.0
    relays: dict[str, str] = field(default_factory=dict[str, str])

    def scheme(
        self,
        wrap: Callable[[TokenStore], TokenStore] = lambda store: store,
        asked: Callable[[], object] = lambda: None,
    ) -> OAuth2:
        """Returns the scheme of a user, as a process has it that starts now.

        Args:
            wrap: Puts something round the store.
            asked: Called before each token request.
        """
        store: TokenStore
        store = RedisStore(self.store) if self.store.startswith("redis:") else FileStore(self.store)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cruds_auth_oauth2.oauth2._LEASE", self.lease - 2 * TIMEOUT)
            return OAuth2(
                self.token_url,
                self.client_id,
                lambda: (asked(), self.client_secret)[1],
                "read",
                encryption_key=self.key,
                authorization_url=self.token_url.replace("/token", "/authorize"),
                redirect_uri=REDIRECT_URI,
                leeway=300.0,
                timeout=TIMEOUT,
                store=wrap(store),
                user=USER,
            )

    def sign_in(self, authority: AuthorizationServer) -> OAuth2:
        """Returns the scheme through which the user has signed in."""
        auth = self.scheme()
        location = authority.sign_in(auth.get_authorization_url())
        auth.exchange_code_for_token(*auth.parse_authorization_response(location))
        authority.token_requests.clear()
        return auth


@dataclass(frozen=True)
class Done:
    """What a process has to say: the tokens and errors of its threads, its warnings, the seconds it took."""

    tokens: list[str]
    errors: list[str]
    warnings: list[str]
    seconds: float


class Process:
    """A process of the fleet: a fork of one that has imported what all of them need.

    Args:
        setting: What it is made with.
        apart: The namespaces, CLONE_NEW* of unshare(2), in which it is alone.
    """

    def __init__(self, setting: Setting, apart: int = 0) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
            ensure_running()
        self.line, other = _FORKS.Pipe()
        self.program = _FORKS.Process(target=_live, args=(other, setting, apart), daemon=True)
        self.program.start()
        other.close()

    @property
    def pid(self) -> int:
        """Its number."""
        assert self.program.pid
        return self.program.pid

    def tell(self, what: str, **more: object) -> None:
        """Have it do something: see the methods of `_Member`."""
        self.line.send((what, more))

    def answer(self) -> Any:
        """What came of the first thing that it has not answered yet."""
        return self.line.recv()

    def ask(self, what: str, **more: object) -> Any:
        """Have it do something, and wait for what comes of it."""
        self.tell(what, **more)
        return self.answer()

    def tokens(self, **more: object) -> Done:
        """Have its threads get the token."""
        return Done(**self.ask("tokens", **more))

    def token(self, **more: object) -> str:
        """The token of one thread that had no trouble."""
        done = self.tokens(**more)
        [token] = done.tokens
        assert done.errors + done.warnings == []
        return token

    def end(self) -> None:
        """End it, whatever it does."""
        self.program.kill()
        self.program.join(10)
        self.program.close()
        self.line.close()


@contextmanager
def processes(number: int, setting: Setting) -> Generator[list[Process]]:
    """Runs processes for the length of a with block."""
    with ExitStack() as stack:
        started = [Process(setting) for _ in range(number)]
        for process in started:
            stack.callback(process.end)
        for process in started:
            process.ask("wait")
        yield started


class Halting(TokenStore):
    """A store whose process gets a signal at a step of a renewal."""

    def __init__(self, store: TokenStore) -> None:
        self.store = store
        self.step: str | None = None
        self.signal = 0
        self.asked = False  # since the lock was taken

    def reach(self, step: str) -> None:
        """Send the signal if this is the step for it, once."""
        if step == self.step:
            self.step = None
            # To this thread: the process would go on until another one was woken to take it.
            signal.pthread_kill(threading.get_ident(), self.signal)

    def load(self, key: str) -> str | None:
        """Read it."""
        return self.store.load(key)

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """Keep it, with a step before and one after."""
        if self.asked:
            self.reach("before the save")
        self.store.save(key, record, lifetime)
        if self.asked:
            self.reach("after the save")

    def prepare(self, key: str) -> None:
        """Find out whether it can be kept."""
        self.store.prepare(key)

    def ask(self) -> None:
        """Know that a token is asked for."""
        self.asked = True

    def delete(self, key: str) -> None:
        """Remove it."""
        self.store.delete(key)

    @contextmanager
    def _locked(self, lock: AbstractContextManager[None]) -> Generator[None]:
        with lock:
            self.asked = False
            self.reach("before the request")
            yield

    def lock(self, key: str, *, lease: float, wait: float) -> AbstractContextManager[None]:
        """Lock it, with a step after."""
        return self._locked(self.store.lock(key, lease=lease, wait=wait))


class _Member(logging.Handler):
    """The other side of `Process`."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(logging.WARNING)
        logging.getLogger().addHandler(self)
        self.setting = setting
        self.shift = 0.0
        self.warnings: list[str] = []
        now, patch = time.time, pytest.MonkeyPatch()
        patch.setattr(time, "time", lambda: now() + self.shift)
        patch.setattr("cruds_auth_oauth2.stored_token._MARGIN", MARGIN)
        self.start()

    def start(self) -> None:
        """Be a process that has just started."""
        self.stores: list[Halting] = []
        self.auth = self.setting.scheme(self.halting, lambda: self.stores[-1].ask())

    def halting(self, store: TokenStore) -> Halting:
        """A store that halts."""
        self.stores.append(Halting(store))
        return self.stores[-1]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        self.warnings.append(self.format(record))

    def wait(self) -> None:
        """Do nothing."""

    def run(self, command: list[str]) -> str:
        """Run a program, and return what it says."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def tokens(
        self,
        threads: int = 1,
        shift: float | None = None,
        refused: str | None = None,
        step: str | None = None,
        signal: int = 0,
        fresh: bool = False,
    ) -> dict[str, Any]:
        """Get the token in threads, with the clock set forward; or another than one that was refused."""
        if fresh:
            self.start()
        self.shift = self.shift if shift is None else shift
        self.stores[-1].step, self.stores[-1].signal = step, signal
        self.warnings.clear()
        get = self.auth.access_token if refused is None else partial(self.auth.renew, refused)
        tokens: list[str] = []
        errors: list[str] = []
        barrier = threading.Barrier(threads)

        def one() -> None:
            barrier.wait()
            try:
                tokens.append(str(get()))
            except OAuthAccessTokenError as error:
                errors.append(f"{type(error).__name__}: {error}")

        started = time.perf_counter()
        crowd = [threading.Thread(target=one) for _ in range(threads)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        seconds = time.perf_counter() - started
        return {"tokens": tokens, "errors": errors, "warnings": self.warnings, "seconds": seconds}


def _live(line: Connection, setting: Setting, apart: int) -> None:
    if apart:
        _part(apart)
    if setting.relays:
        loopback_up()
    for port, path in setting.relays.items():
        to_path(int(port), Path(path))
    member = _Member(setting)
    while True:
        what, more = line.recv()
        line.send(getattr(member, what)(**more))


def _part(namespaces: int) -> None:
    """Leave the namespaces of the others, as root in those of its own."""
    maps = {"setgroups": "deny", "uid_map": f"0 {os.getuid()} 1", "gid_map": f"0 {os.getgid()} 1"}
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(CLONE_NEWUSER | namespaces):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, content in maps.items():  # user_namespaces(7)
        Path("/proc/self", name).write_text(content, encoding="ascii")
