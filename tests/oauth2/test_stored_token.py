"""What is kept of a token is sealed, bound to its key, and of nobody's use elsewhere."""

import base64
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import keyring
import pytest
from cryptography.fernet import Fernet
from keyrings.alt.file import PlaintextKeyring  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
from servers.redis import Redis

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import (
    FileStore,
    KeyringStore,
    OAuth2,
    OAuthStoreError,
    OAuthStoreLockedError,
    RedisStore,
    Token,
    TokenStore,
)
from cruds_auth_oauth2.encryption import Keys
from cruds_auth_oauth2.stored_token import StoredToken
from cruds_core.secret import SecretDict
from cruds_core.testing.leaks import Leaks

IDENTITY = ["https://issuer.test", "client", "read", None]


class Memory(TokenStore):
    """A store that anybody can look into."""

    is_safe = False

    def __init__(self) -> None:
        self.records: dict[str, str] = {}

    @property
    def protects(self) -> bool:
        """As it is said."""
        return self.is_safe

    def load(self, key: str) -> str | None:
        """What is there."""
        return self.records.get(key)

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """Keep it."""
        self.records[key] = str(record)

    def delete(self, key: str) -> None:
        """Keep nothing."""
        self.records.pop(key, None)

    @contextmanager
    def lock(self, key: str, *, lease: float, wait: float) -> Generator[None]:
        """Nobody else is here."""
        yield


def token(access: str = "an-access-token", **more: Any) -> Token:
    """Returns a token with all that one can have."""
    answer = {
        "access_token": access,
        "refresh_token": "a-refresh-token",
        "expires_in": 3600,
        "scope": "read write",
        "authorization_details": [{"type": "account", "id": 1}],
        "id_token": "an-id-token",
        **more,
    }
    return Token.read(SecretDict(answer), asked_at=time.time(), leeway=30.0, scope="asked", held=None)


def all_of(one: Token | None) -> list[Any]:
    """Returns all that is to be known of a token."""
    assert one is not None
    known = [one.access_token, one.refresh_token, one.scope, one.expires_at, one.token_type]
    return [*known, one.authorization_details, one.parameters, one.record()]


def place_in(store: TokenStore, keys: Keys | None, identity: list[Any] = IDENTITY) -> StoredToken:
    """Returns the place of a token."""
    return StoredToken(store, keys, identity, 1.0)


def ring(*keys: str) -> Keys:
    """Returns keys, the first of which seals."""
    return Keys(list(keys), "test")


OLD, NEW = Fernet.generate_key().decode(), "a text that is no Fernet key"


# Sealing


@pytest.mark.parametrize("keys", [ring(OLD), ring(NEW), None], ids=["fernet", "text", "unsealed"])
@pytest.mark.parametrize(
    "more",
    [{}, {"refresh_token": None}, {"expires_in": None}, {"authorization_details": None}, {"scope": None}],
    ids=lambda more: next(iter(more), "all"),
)
def test_token_comes_back(keys: Keys | None, more: dict[str, Any]) -> None:
    """Another process has all of the token, whatever is missing in it."""
    store, saved = Memory(), token(**more)
    place_in(store, keys).save(saved, time.time())
    assert all_of(place_in(store, keys).load()) == all_of(saved)


def test_token_is_not_there() -> None:
    """A sealed record holds no text of the token, and another one each time."""
    store = Memory()
    seen: set[str] = set()
    for _ in range(5):
        place_in(store, ring(OLD)).save(token(), time.time())
        seen.update(store.records.values())
    assert len(seen) == 5
    assert all(b"an-access-token" not in base64.urlsafe_b64decode(record) for record in seen)


def test_unsealed_only_where_the_store_protects(authority: AuthorizationServer) -> None:
    """A record is plain where the store protects it and no key is given; a key seals it all the same."""
    for is_safe, key in ((True, None), (True, OLD), (False, OLD)):
        store = Memory()
        store.is_safe = is_safe
        auth = OAuth2(
            authority.token_url,
            authority.client_id,
            authority.client_secret,
            "read",
            encryption_key=key,
            store=store,
        )
        (text,) = (auth.access_token(), *store.records.values())[1:]
        assert (auth.access_token() in text) is (key is None)


def test_store_that_does_not_protect_needs_a_key(authority: AuthorizationServer) -> None:
    """Without encryption_key nothing goes to a store that anybody can read: ValueError when it is made."""
    with pytest.raises(ValueError, match=r"store needs encryption_key.*Fernet.generate_key\(\)"):
        OAuth2(authority.token_url, "client", "secret", "read", store=Memory())


# What cannot be opened


def refused(place: StoredToken, *never: str) -> str:
    """Returns the message of the error that a place loads with, which quotes nothing."""
    with pytest.raises(OAuthStoreError) as caught:
        place.load()
    assert caught.value.__cause__ is None
    message = str(caught.value)
    assert not isinstance(caught.value, OAuthStoreLockedError)
    assert "cannot be read" in message
    assert "add the key that sealed it to encryption_key, as one of a list" in message
    assert "delete it" in message
    assert not any(text in message for text in never)
    return message


@pytest.mark.parametrize("keys", [ring(OLD), None], ids=["sealed", "unsealed"])
def test_record_under_another_key(keys: Keys | None) -> None:
    """Who can write to the store cannot give one user's token to another: it opens in its place alone."""
    store = Memory()
    mine, other = place_in(store, keys, ["mine"]), place_in(store, keys, ["other"])
    mine.save(token("mine"), time.time())
    ((key, record),) = store.records.items()
    other.save(token("other"), time.time())
    (key_of_other,) = store.records.keys() - {key}
    store.records[key_of_other] = record
    refused(place_in(store, keys, ["other"]), record)
    assert all_of(mine.load())[0] == "mine"


def test_record_of_another_purpose() -> None:
    """What the same key sealed for a sign-in is no token."""
    store, keys = Memory(), ring(OLD)
    place = place_in(store, keys)
    place.save(token(), time.time())
    (key,) = store.records
    store.records[key] = keys.seal("sign-in", {"version": "1", **token().record()})
    refused(place_in(store, keys))


def test_record_of_another_key() -> None:
    """A record that was sealed under another encryption_key is refused, and stays as it is."""
    store = Memory()
    place_in(store, ring(OLD)).save(token(), time.time())
    before = dict(store.records)
    refused(place_in(store, ring(NEW)), *before.values())
    assert store.records == before


@pytest.mark.parametrize("keys", [ring(OLD), None], ids=["sealed", "unsealed"])
def test_record_of_another_version(keys: Keys | None) -> None:
    """A record of a later version is refused by its version, not misread."""
    store = Memory()
    place_in(store, keys).save(token(), time.time())
    (key,) = store.records
    for fields in ({**token().record(), "version": "2"}, token().record()):
        purpose = f"token {key}"
        record = json.dumps([purpose, fields]) if keys is None else keys.seal(purpose, dict(fields))
        store.records[key] = record
        assert "of another version than 1" in refused(place_in(store, keys), "an-access-token")


@pytest.mark.parametrize("keys", [ring(OLD), None], ids=["sealed", "unsealed"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, None) for name in ("access_token", "parameters", "expires", "renews")],
        *[(name, value) for name in ("expires", "renews") for value in ("", "no number")],
    ],
)
def test_record_that_is_incomplete(keys: Keys | None, name: str, value: str | None) -> None:
    """A record that lacks something, or has no number where one must be, is refused."""
    store = Memory()
    place_in(store, keys).save(token(), time.time())
    (key,) = store.records
    fields = {"version": "1", **token().record()}
    del fields[name]
    if value is not None:
        fields[name] = value
    purpose = f"token {key}"
    store.records[key] = json.dumps([purpose, fields]) if keys is None else keys.seal(purpose, fields)
    assert "it is incomplete" in refused(place_in(store, keys), "an-access-token")


@pytest.mark.parametrize("keys", [ring(OLD), None], ids=["sealed", "unsealed"])
def test_record_that_is_truncated(keys: Keys | None) -> None:
    """A record that was cut off anywhere is refused."""
    store = Memory()
    place_in(store, keys).save(token(), time.time())
    ((key, record),) = store.records.items()
    for length in {*range(0, len(record), 37), len(record) - 1, len(record) - 2}:
        store.records[key] = record[:length]
        refused(place_in(store, keys), "an-access-token")


def test_record_that_is_garbled() -> None:
    """A sealed record with any other character in any place is refused."""
    store = Memory()
    place_in(store, ring(OLD)).save(token(), time.time())
    ((key, record),) = store.records.items()
    padding = len(record) - len(record.rstrip("="))
    for index in {*range(0, len(record), 29), len(record) - padding - 2}:
        for other in ("A" if record[index] != "A" else "B", " ", "\n", "\x00", "ä", "\ufffd"):
            store.records[key] = record[:index] + other + record[index + 1 :]
            refused(place_in(store, ring(OLD)), record)


@pytest.mark.parametrize("keys", [ring(OLD), None], ids=["sealed", "unsealed"])
@pytest.mark.parametrize(
    "record",
    [
        "null",
        "[]",
        "{}",
        "[[]]",
        "[null, {}]",
        "1",
        '"text"',
        "text",
        "[" * 100_000,
        "=",
        "A" * 1000,
        "gAAAAA==",
    ],
    ids=range(12),
)
def test_record_that_is_something_else(keys: Keys | None, record: str) -> None:
    """What another program has left there is refused."""
    store = Memory()
    place_in(store, keys).save(token(), time.time())
    (key,) = store.records
    store.records[key] = record
    refused(place_in(store, keys))


# Rotation of the key


def test_key_rotation() -> None:
    """[new, old] opens what the old key sealed, and seals anew with the new one, which opens it alone."""
    store = Memory()
    place_in(store, ring(OLD)).save(token(), time.time())
    place = place_in(store, ring(NEW, OLD))
    held = place.load()
    assert held is not None
    place.save(held, time.time())
    for keys in (ring(NEW), ring(NEW, OLD), ring(OLD, NEW)):
        assert all_of(place_in(store, keys).load()) == all_of(held)
    refused(place_in(store, ring(OLD)))


def test_key_rotation_through_a_renewal(authority: AuthorizationServer, tmp_path: Path) -> None:
    """A fleet that is given [new, old] goes on with its token, and needs new alone after a renewal."""

    def program(*keys: str) -> OAuth2:
        return OAuth2(
            authority.token_url,
            authority.client_id,
            authority.client_secret,
            "read",
            encryption_key=list(keys),
            store=FileStore(tmp_path / "tokens"),
        )

    first = program(OLD).access_token()
    between = program(NEW, OLD)
    assert between.access_token() == first
    second = between.renew(first)
    assert program(NEW).access_token() == second != first
    assert len(authority.token_requests) == 2


# A store that raises


class Failing(Memory):
    """A store that raises what it is told, where it is told."""

    def __init__(self, method: str, error: BaseException) -> None:
        super().__init__()
        self.method, self.error = method, error

    def _fail(self, method: str) -> None:
        if method == self.method:
            raise self.error

    def load(self, key: str) -> str | None:
        """Fail."""
        self._fail("load")
        return super().load(key)

    def save(self, key: str, record: str, lifetime: float | None) -> None:
        """Fail."""
        self._fail("save")

    def delete(self, key: str) -> None:
        """Fail."""
        self._fail("delete")

    def lock(self, key: str, *, lease: float, wait: float) -> Any:
        """Fail, before, at the begin or at the end."""
        self._fail("lock")

        @contextmanager
        def held() -> Generator[None]:
            self._fail("enter")
            yield
            self._fail("exit")

        return held()


def take(place: StoredToken) -> None:
    """Take the lock and give it back."""
    with place.locked():
        pass


ACTS: dict[str, Callable[[StoredToken], object]] = {
    "load": lambda place: place.load(),
    "save": lambda place: place.save(token(), time.time()),
    "delete": StoredToken.delete,
    "lock": take,
    "enter": take,
}


@pytest.mark.parametrize("method", ACTS)
@pytest.mark.parametrize(
    "error",
    [RuntimeError("a-text"), KeyError("a-text"), OSError("a-text"), TypeError("a-text")],
    ids=lambda error: type(error).__name__,
)
def test_store_that_raises(method: str, error: Exception) -> None:
    """What a store raises is an OAuthStoreError that names it, and does not quote it."""
    place = place_in(Failing(method, error), ring(OLD))
    with pytest.raises(OAuthStoreError) as caught:
        ACTS[method](place)
    name = "lock" if method == "enter" else method
    assert str(caught.value) == f"Failing.{name}() raised {type(error).__name__}"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("method", ACTS)
@pytest.mark.parametrize("error", [OAuthStoreError("ours"), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_error_that_goes_through(method: str, error: BaseException) -> None:
    """An error of ours, and what ends a program, go through as they are."""
    place = place_in(Failing(method, error), ring(OLD))
    with pytest.raises(type(error)) as caught:
        ACTS[method](place)
    assert caught.value is error


def test_lock_that_cannot_be_given_back(caplog: pytest.LogCaptureFixture) -> None:
    """What was kept is kept: a lock that cannot be given back is a warning, and hides no other error."""
    place = place_in(Failing("exit", RuntimeError("gone")), ring(OLD))
    with caplog.at_level(logging.WARNING):
        take(place)
        with pytest.raises(ValueError, match="other"), place.locked():
            raise ValueError("other")
    assert caplog.messages[0] == "the lock of a token could not be given back: gone"


# No secret in plain

MARKS = {
    "client_secret": "CanaryClientSecret",
    "username": "CanaryUsername",
    "password": "CanaryPassword",
    "scope": "CanaryScope",
}
USER = "CanaryNameOfTheUser"
Look = Callable[[], bytes]


@pytest.fixture
def marked() -> Iterator[AuthorizationServer]:
    """An authorization server whose secrets, user and scope can be found."""
    with AuthorizationServer(**cast("Any", MARKS), rotates=True) as server:
        yield server


def made(server: AuthorizationServer, store: TokenStore, **more: Any) -> OAuth2:
    """Returns a program of the server's client."""
    key = None if store.protects else Fernet.generate_key().decode()
    return OAuth2(
        server.token_url,
        server.client_id,
        server.client_secret,
        server.scope,
        encryption_key=more.pop("encryption_key", key),
        store=store,
        **more,
    )


def client_credentials(server: AuthorizationServer, store: TokenStore) -> OAuth2:
    """A program of its own."""
    return made(server, store)


def password(server: AuthorizationServer, store: TokenStore) -> OAuth2:
    """A program with the user's password."""
    return made(server, store, username=server.username, password=server.password)


def sign_in(server: AuthorizationServer, store: TokenStore) -> OAuth2:
    """A program in which a user has signed in."""
    auth = made(
        server,
        store,
        authorization_url=server.authorization_url,
        redirect_uri="http://127.0.0.1/back",
        encryption_key=Fernet.generate_key().decode(),
    )
    begun = auth.authorization_request()
    return auth.sign_in(begun.sealed, server.sign_in(begun.url), user=USER)


FLOWS = [client_credentials, password, sign_in]
flows = pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)


def go(
    flow: Callable[[AuthorizationServer, TokenStore], OAuth2],
    server: AuthorizationServer,
    store: TokenStore,
    look: Look,
) -> list[str]:
    """Gets a token, renews it and gives it up; returns the names of the secrets that were seen meanwhile."""
    auth = flow(server, store)
    seen = [look()] if auth.access_token() else []
    auth.renew(auth.access_token())
    seen.append(look())
    assert auth.token is not None
    secrets = {**MARKS, "user": USER}
    for kind in ("access_token", "refresh_token"):
        for number, issued in enumerate(server.issued[kind]):
            secrets[f"{kind} {number}"] = issued
    assert sum(name.startswith("access_token") for name in secrets) == 2
    assert sum(name.startswith("refresh_token") for name in secrets) == (
        0 if flow is client_credentials else 2
    )
    auth.clear()
    seen.append(look())
    text = b"\n".join(seen).decode("latin-1")
    assert len(text) > 100
    found: list[str] = []
    for name, secret in secrets.items():
        leaks = Leaks()
        assert leaks.know(secret)
        if leaks.are_in(text):
            found.append(name)
    return found


def look_into(folder: Path) -> Look:
    """Returns what reads the names and the bytes of all files of a folder."""

    def look() -> bytes:
        return b"\n".join(os.fsencode(path) + path.read_bytes() for path in folder.rglob("*"))

    return look


class Open(FileStore):
    """A store that says that it protects what it does not."""

    @property
    def protects(self) -> bool:
        """It lies."""
        return True


@pytest.mark.parametrize("flow", [client_credentials, password], ids=lambda flow: flow.__name__)
def test_what_would_be_seen(flow: Any, marked: AuthorizationServer, tmp_path: Path) -> None:
    """These tests see tokens and scope where nothing is sealed. Secrets that get them are never kept."""
    store = Open(tmp_path / "tokens")

    refresh = [] if flow is client_credentials else ["refresh_token 0", "refresh_token 1"]
    found = go(flow, marked, store, look_into(store.path))
    assert found == ["scope", "access_token 0", "access_token 1", *refresh]


@flows
def test_nothing_in_a_file(flow: Any, marked: AuthorizationServer, tmp_path: Path) -> None:
    """No file of a FileStore holds a token, a secret, a name or a scope, nor does the name of one."""
    store = FileStore(tmp_path / "tokens")
    assert go(flow, marked, store, look_into(store.path)) == []


@flows
def test_nothing_in_a_keyring(
    flow: Any, marked: AuthorizationServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keyring that is a plain file holds none of them either."""
    backend: Any = PlaintextKeyring()
    backend.file_path = str(tmp_path / "keyring.cfg")
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)
    monkeypatch.setattr(keyring, "get_password", backend.get_password)
    monkeypatch.setattr(keyring, "set_password", backend.set_password)
    monkeypatch.setattr(keyring, "delete_password", backend.delete_password)
    store = KeyringStore("cruds-test", tmp_path / "locks")

    def look() -> bytes:
        """The file, and what it has in base64."""
        plain = Path(backend.file_path).read_bytes()
        lines = plain.replace(b"\n\t", b"").split()
        decoded = [base64.b64decode(line) for line in lines if len(line) > 100]
        return b"\n".join([plain, *decoded, *look_into(tmp_path / "locks")().splitlines()])

    assert go(flow, marked, store, look) == []


@contextmanager
def monitor(redis: Redis) -> Generator[Callable[[], bytes]]:
    """Yields what returns all commands that Redis has carried out meanwhile, for anybody."""
    with (
        socket.create_connection(("127.0.0.1", redis.port), timeout=10) as watch,
        redis.client() as client,
    ):
        watch.sendall(f"AUTH {redis.password}\r\nMONITOR\r\n".encode())
        got = b""
        while got.count(b"+OK") < 2:
            got += watch.recv(1 << 16)

        def look() -> bytes:
            nonlocal got
            end = f"end of {time.monotonic_ns()}"
            client.echo(end)
            while end.encode() not in got:
                got += watch.recv(1 << 16)
            return got

        yield look


@flows
def test_nothing_in_redis(flow: Any, marked: AuthorizationServer, redis: Redis) -> None:
    """Neither a command to Redis (MONITOR) nor a key (GET, DUMP) holds any of them."""
    prefix = f"{flow.__name__}:"
    store = RedisStore(redis.url, prefix=prefix)
    with monitor(redis) as commands, redis.client() as client:
        found: set[bytes] = set()

        def look() -> bytes:
            keys: Any = client.keys(f"{prefix}*")
            values = [value for key in keys for value in (key, client.get(key), client.dump(key))]
            found.update(keys)
            return b"\n".join([commands(), *values])

        assert go(flow, marked, store, look) == []
        assert len(found) == 1
        assert b'"eval' in commands().lower()
