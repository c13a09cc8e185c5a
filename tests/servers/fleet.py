"""Processes that share a store: each is this program, which does what it is told in lines of JSON."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
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
MARGIN = 1.0  # seconds that those who wait for a lock give it beyond the end of its lease, in a process


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
    """A process of the fleet.

    Args:
        setting: What it is made with.
        prefix: The command that runs it, such as unshare.
    """

    def __init__(self, setting: Setting, prefix: Sequence[str] = ()) -> None:
        command = [*prefix, sys.executable, "-m", "servers.fleet", json.dumps(asdict(setting))]
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        self.program = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self.program.stdin
        assert self.program.stdout
        self.told, self.said = self.program.stdin, self.program.stdout

    @property
    def pid(self) -> int:
        """Its number."""
        return self.program.pid

    def tell(self, what: str, **more: object) -> None:
        """Have it do something: see the methods of `_Member`."""
        self.told.write(json.dumps([what, more]) + "\n")
        self.told.flush()

    def answer(self) -> Any:
        """What came of the first thing that it has not answered yet."""
        line = self.said.readline()
        assert line, f"the process ended with {self.program.wait(10)}"
        return json.loads(line)

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
        self.program.wait(10)
        self.told.close()
        self.said.close()


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


def _main() -> None:
    setting = Setting(**json.loads(sys.argv[1]))
    if setting.relays:
        loopback_up()
    for port, path in setting.relays.items():
        to_path(int(port), Path(path))
    member = _Member(setting)
    for line in sys.stdin:
        what, more = json.loads(line)
        print(json.dumps(getattr(member, what)(**more)), flush=True)


if __name__ == "__main__":
    _main()
