"""A store that is down, slow, full or corrupt: the token that lives is used, or an error says what to do."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from servers.fleet import Halting, Setting
from servers.redis import Redis, serve

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2, OAuthAccessTokenError, OAuthStoreError, TokenStore
from cruds_core import RequestError
from cruds_core.testing.server import Reply
from cruds_core.testing.sharing import in_child

KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(2))
NEAR, GONE = 3310.0, 3700.0  # seconds after the sign-in: the token is to be renewed ahead, and has expired
TIMEOUT = 0.5  # seconds, of Redis


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A running Redis."""
    (tmp_path / "redis").mkdir()
    with serve(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def authority() -> Iterator[AuthorizationServer]:
    """A server that revokes the family of a refresh token that is used twice."""
    with AuthorizationServer(rotates=True) as server:
        yield server


class Place:
    """Where the record of the token is."""

    def __init__(self, where: Path | Redis) -> None:
        self.where = where

    @property
    def store(self) -> str:
        """The store, as a `Setting` has it."""
        return str(self.where) if isinstance(self.where, Path) else self.where.url

    def read(self) -> bytes:
        """The record."""
        if isinstance(self.where, Path):
            [file] = self.where.glob("*.token")
            return file.read_bytes()
        return self.where.record()

    def write(self, record: bytes) -> None:
        """Put something in its place."""
        if isinstance(self.where, Path):
            [file] = self.where.glob("*.token")
            file.write_bytes(record)
        else:
            self.where.replace(record)


@pytest.fixture(params=["file", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where the record of the token is."""
    return Place(tmp_path / "tokens" if request.param == "file" else request.getfixturevalue("redis"))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock to so many seconds after the test began."""
    now, passed = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: now() + passed[0])

    def at(seconds: float) -> None:
        passed[0] = seconds

    return at


def setting(authority: AuthorizationServer, store: str) -> Setting:
    """Returns what all processes have in common."""
    return Setting(authority.token_url, authority.client_id, authority.client_secret, KEY, store)


def uses_what_lives(auth: OAuth2, caplog: pytest.LogCaptureFixture, seconds: float = 3.0) -> str:
    """Returns the warning of a call that has the token that lives, in so many seconds at most."""
    token = auth.token
    assert token is not None
    caplog.clear()
    started = time.perf_counter()
    assert auth.access_token() == token.access_token
    assert time.perf_counter() - started < seconds
    assert auth.access_token() == token.access_token  # and nobody asks again, for a while
    [warning] = caplog.messages
    assert token.access_token not in warning
    return warning


def fails(auth: OAuth2, seconds: float = 3.0) -> str:
    """Returns what an error says, which comes in so many seconds at most."""
    started = time.perf_counter()
    with pytest.raises(OAuthStoreError) as raised:
        auth.access_token()
    assert time.perf_counter() - started < seconds
    return str(raised.value)


class Unlocked(Halting):
    """A store whose lock keeps nobody out, as on some network file systems."""

    def lock(self, key: str, *, lease: float, wait: float) -> AbstractContextManager[None]:
        """Lock another key."""
        return self.store.lock(f"{key}-{id(self)}", lease=lease, wait=wait)


# What is in the store


def truncated(place: Place, _: AuthorizationServer, __: pytest.MonkeyPatch) -> None:
    """The half of a record."""
    place.write(place.read()[:-100])


def emptied(place: Place, _: AuthorizationServer, __: pytest.MonkeyPatch) -> None:
    """Nothing, where a record was."""
    place.write(b"")


def garbled(place: Place, _: AuthorizationServer, __: pytest.MonkeyPatch) -> None:
    """A record with one character changed, and bytes that are no text."""
    record = place.read()
    place.write(record[:60] + bytes([record[60] ^ 1]) + b"\xff\x00" + record[61:])


def of_another_key(place: Place, authority: AuthorizationServer, _: pytest.MonkeyPatch) -> None:
    """A record that somebody with another key has written."""
    replace(setting(authority, place.store), key=OTHER_KEY).sign_in(authority)


def of_another_version(place: Place, authority: AuthorizationServer, patch: pytest.MonkeyPatch) -> None:
    """A record of a release to come."""
    with patch.context() as future:
        future.setattr("cruds_auth_oauth2.stored_token._VERSION", "2")
        setting(authority, place.store).sign_in(authority)


@pytest.mark.parametrize("spoil", [truncated, emptied, garbled, of_another_key, of_another_version])
def test_a_record_that_cannot_be_read(
    authority: AuthorizationServer,
    place: Place,
    at: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Place, AuthorizationServer, pytest.MonkeyPatch], None],
) -> None:
    """The token that lives is used; without one an error says what to do; nothing is asked, nothing lost."""
    common = setting(authority, place.store)
    auth = common.sign_in(authority)
    spoil(place, authority, monkeypatch)
    at(NEAR)
    for message in (uses_what_lives(auth, caplog), fails(common.scheme())):
        assert "add the key that sealed it to encryption_key, as one of a list, or delete it" in message
        assert KEY not in message
    at(GONE)
    assert "cannot be read" in fails(auth)
    assert authority.token_requests == []
    auth.clear()
    common.sign_in(authority)
    auth = common.scheme()
    assert authority.is_active(auth.access_token())


def test_a_store_that_went_back(
    authority: AuthorizationServer, place: Place, at: Callable[[float], None]
) -> None:
    """A process that has seen the newer token renews that, and not what an older copy of the store has."""
    common = setting(authority, place.store)
    writer, reader = common.sign_in(authority), common.scheme()
    tokens, records = [reader.access_token()], [place.read()]
    for first, second in ((writer, reader), (writer, reader), (reader, writer)):
        place.write(records[0])
        at(GONE * len(tokens))
        tokens.append(first.access_token())
        records.append(place.read())
        assert second.access_token() == common.scheme().access_token() == tokens[-1]
    assert len(set(tokens)) == len(set(records)) == 4
    assert [request["status"] for request in authority.token_requests] == [200] * 3


def test_an_object_for_each_request_renews_ahead(
    authority: AuthorizationServer, place: Place, at: Callable[[float], None]
) -> None:
    """One that finds in the store a token that is about to expire renews it, as one that held it does."""
    common = setting(authority, place.store)
    common.sign_in(authority)
    old = common.scheme().access_token()
    assert authority.token_requests == []
    at(NEAR)
    new = common.scheme().access_token()
    assert authority.is_active(new)
    assert (new != old, common.scheme().access_token()) == (True, new)
    assert len(authority.token_requests) == 1


def test_clear_forgets_though_the_store_fails(authority: AuthorizationServer, tmp_path: Path) -> None:
    """Where the record cannot be removed clear() says so, and this process has no token any more."""
    common = setting(authority, str(tmp_path / "tokens"))
    auth = common.sign_in(authority)
    (tmp_path / "tokens").chmod(0o755)
    with pytest.raises(OAuthStoreError, match="open to nobody else"):
        auth.clear()
    assert auth.token is None


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_somebody_else_has_rotated(
    authority: AuthorizationServer, place: Place, at: Callable[[float], None]
) -> None:
    """A refresh that is refused since another got ahead, without the lock, yields the other's token."""
    common = setting(authority, place.store)
    common.sign_in(authority)
    answers: list[str] = []

    def get_ahead() -> None:
        """Refresh between the other's look at the store and its request."""
        if not answers:
            answers.append("")
            answers[0] = common.scheme(Unlocked).access_token()
            authority.answers.append(Reply.json({"error": "invalid_grant"}, 400))

    auth = common.scheme(Unlocked, get_ahead)
    at(GONE)
    assert [auth.access_token()] == answers
    assert common.scheme().access_token() == answers[0]
    assert [request["status"] for request in authority.token_requests] == [200, 400]


class Interrupted(Halting):
    """A store in whose save something happens, once."""

    before = after = staticmethod(lambda: None)

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """Keep it."""
        before, after = self.before, self.after
        self.before = self.after = lambda: None
        before()
        self.store.save(key, record, lifetime)
        after()


def interrupted(common: Setting) -> tuple[OAuth2, Interrupted]:
    """Returns a scheme with such a store, and the store."""
    stores: list[Interrupted] = []

    def wrap(store: TokenStore) -> Interrupted:
        stores.append(Interrupted(store))
        return stores[0]

    return common.scheme(wrap), stores[0]


def ctrl_c() -> None:
    """Raise what a signal does."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_save_that_is_interrupted(
    authority: AuthorizationServer, place: Place, at: Callable[[float], None], moment: str
) -> None:
    """A token whose save a signal interrupts is saved: the refresh token before it is used up."""
    common = setting(authority, place.store)
    common.sign_in(authority)
    auth, store = interrupted(common)
    auth.access_token()
    at(GONE)
    setattr(store, moment, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        auth.access_token()
    assert auth.access_token() == common.scheme().access_token()
    assert [request["status"] for request in authority.token_requests] == [200]


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_save_that_is_interrupted_and_fails(
    authority: AuthorizationServer, place: Place, at: Callable[[float], None]
) -> None:
    """The signal goes on where the second save fails, and the token serves this process alone."""
    common = setting(authority, place.store)
    common.sign_in(authority)
    auth, store = interrupted(common)
    auth.access_token()
    at(GONE)

    def down() -> None:
        raise OSError

    def ctrl_c_and_down() -> None:
        store.before = down
        raise KeyboardInterrupt

    store.before = ctrl_c_and_down
    with pytest.raises(KeyboardInterrupt):
        auth.access_token()
    assert authority.is_active(auth.access_token())
    assert [request["status"] for request in authority.token_requests] == [200]


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_forked_in_the_midst_of_a_save(
    authority: AuthorizationServer, place: Place, at: Callable[[float], None]
) -> None:
    """A child that is forked while another thread saves a token waits for that one, and has it."""
    common = setting(authority, place.store)
    common.sign_in(authority)
    auth, store = interrupted(common)
    auth.access_token()
    at(GONE)
    saving, (forked, tell) = threading.Event(), os.pipe()

    def wait() -> None:
        saving.set()
        os.read(forked, 1)

    def child() -> None:
        os.write(tell, b"!")
        assert authority.is_active(auth.access_token())
        assert auth.access_token() == common.scheme().access_token()

    store.before = wait
    with ThreadPoolExecutor(1) as pool:
        renewed = pool.submit(auth.access_token)
        assert saving.wait(20)
        assert in_child(child) == ""
        assert authority.is_active(renewed.result(20))
    os.close(forked)
    os.close(tell)
    assert [request["status"] for request in authority.token_requests] == [200]


class Distant(Unlocked):
    """A store behind a service of one's own, which fails as often as it is told."""

    faults = 0

    def load(self, key: str) -> str | None:
        """Ask the service."""
        if self.faults:
            self.faults -= 1
            msg = "the service did not answer"
            raise RequestError(msg)
        return super().load(key)


def distant(common: Setting, asked: Callable[[], object] = lambda: None) -> tuple[OAuth2, Distant]:
    """Returns a scheme with such a store, and the store."""
    stores: list[Distant] = []

    def wrap(store: TokenStore) -> Distant:
        stores.append(Distant(store))
        return stores[0]

    return common.scheme(wrap, asked), stores[0]


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_request_of_the_store_is_none_for_a_token(
    authority: AuthorizationServer, place: Place, at: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store's own request that failed does not keep a token from being renewed ahead, at the next try."""
    monkeypatch.setattr("cruds_auth_oauth2.token_source.QUIET", 0.0)
    common = setting(authority, place.store)
    common.sign_in(authority)
    auth, store = distant(common)
    token = auth.access_token()
    at(NEAR)
    store.faults = 1
    assert auth.access_token() == token
    assert auth.access_token() != token


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_what_another_has_saved_stays(
    authority: AuthorizationServer, place: Place, at: Callable[[float], None]
) -> None:
    """A refusal removes the record that was refused, and not another one that could not be read at first."""
    common = setting(authority, place.store)
    common.sign_in(authority)

    def get_ahead() -> None:
        """Have another sign in between the look at the store and the request."""
        common.sign_in(authority)
        authority.answers.append(Reply.json({"error": "invalid_grant"}, 400))
        store.faults = 1

    auth, store = distant(common, get_ahead)
    at(GONE)
    with pytest.raises(OAuthAccessTokenError, match="invalid_grant"):
        auth.access_token()
    assert authority.is_active(common.scheme().access_token())


# Redis


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis has less time to answer."""
    monkeypatch.setattr("cruds_auth_oauth2.stores.redis.TIMEOUT", TIMEOUT)


@pytest.mark.usefixtures("impatient")
def test_redis_paused(
    authority: AuthorizationServer,
    redis: Redis,
    at: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One call waits for Redis, for its time; then the living token is used, or an error names the fault."""
    common = setting(authority, redis.url)
    auth = common.sign_in(authority)
    with redis.paused():
        assert authority.is_active(auth.access_token())  # which needs no store
        at(NEAR)
        assert "Timeout" in uses_what_lives(auth, caplog, 2 * TIMEOUT)
        assert "Timeout" in fails(common.scheme(), 2 * TIMEOUT)
        at(GONE)
        assert "Timeout" in fails(auth, 2 * TIMEOUT)
        assert authority.token_requests == []
    assert auth.access_token() == common.scheme().access_token()
    assert len(authority.token_requests) == 1


@pytest.mark.usefixtures("impatient")
def test_redis_down_and_restarted(
    authority: AuthorizationServer,
    redis: Redis,
    at: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """While it is down a living token is used, or an error names the fault; then memory fills it."""
    common = setting(authority, redis.url)
    auth = common.sign_in(authority)
    redis.end()
    at(NEAR)
    for message in (uses_what_lives(auth, caplog), fails(common.scheme())):
        assert "ConnectionError" in message
        assert redis.url not in message
    at(GONE)
    assert "ConnectionError" in fails(auth)
    assert authority.token_requests == []
    with serve(tmp_path / "redis", redis.port):
        assert auth.access_token() == common.scheme().access_token()
        assert len(authority.token_requests) == 1


def test_redis_flushed(authority: AuthorizationServer, redis: Redis, at: Callable[[float], None]) -> None:
    """A process that has the token renews it and fills the store; one without asks for a sign-in."""
    common = setting(authority, redis.url)
    auth, other = common.sign_in(authority), common.scheme()
    redis.ask("FLUSHALL")
    with pytest.raises(Exception, match="nobody has signed in") as raised:
        other.access_token()
    assert type(raised.value).__name__ == "OAuthSignInRequiredError"
    at(GONE)
    assert auth.access_token() == other.access_token()
    assert len(authority.token_requests) == 1


def test_redis_full(
    authority: AuthorizationServer,
    redis: Redis,
    at: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without the lock nothing is asked: the living token is used, or an error names the fault."""
    common = setting(authority, redis.url)
    auth = common.sign_in(authority)
    redis.ask("CONFIG SET", "maxmemory-policy", "noeviction")
    redis.ask("CONFIG SET", "maxmemory", "1")
    assert common.scheme().access_token() == auth.access_token()  # reading goes on
    at(NEAR)
    assert "OutOfMemoryError" in uses_what_lives(auth, caplog)
    at(GONE)
    assert "OutOfMemoryError" in fails(auth)
    assert "OutOfMemoryError" in fails(common.scheme())
    assert authority.token_requests == []
    redis.ask("CONFIG SET", "maxmemory", "0")
    assert auth.access_token() == common.scheme().access_token()
    assert len(authority.token_requests) == 1


def test_the_tests_that_the_page_of_stores_names_are_there() -> None:
    """Each row of what goes wrong, in docs/stores.md, names tests that run."""
    folder = Path(__file__).parent
    page = (folder.parents[1] / "docs" / "stores.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!fault|---|\*\*)(.*) \|$", page.partition("## What goes wrong")[2], re.M)
    assert len(rows) > 10
    source = ""
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)?::(test_\w+)`", row.rpartition(" | ")[2])
        assert named, row
        for file, name in named:
            source = (folder / file).read_text(encoding="utf-8") if file else source
            assert f"def {name}(" in source, f"{file}::{name}"
