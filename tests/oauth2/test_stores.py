"""The stores that we ship keep the contract that we ask of others, and what each says of itself."""

import importlib
import os
import pickle
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.chainer import ChainerBackend
from keyrings.alt.file import PlaintextKeyring  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
from redis.asyncio import Redis as AsyncRedis
from servers.redis import Redis

from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import FileStore, KeyringStore, OAuth2, OAuthStoreError, RedisStore, TokenStore
from cruds_auth_oauth2.testing import StoreContract


@pytest.fixture(autouse=True)
def backend(tmp_path: Path) -> Iterator[KeyringBackend]:
    """Keyrings are in a plain file of the test's."""
    before = keyring.get_keyring()
    backend: Any = PlaintextKeyring()
    backend.file_path = str(tmp_path / "keyring.cfg")
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


def url_of_environment() -> str:
    """Returns the URL of a Redis."""
    return os.environ["REDIS_URL"]


class TestFileStore(StoreContract):
    """A folder."""

    pickles = True

    def make(self, place: Path) -> TokenStore:
        """The folder itself."""
        return FileStore(place / "tokens")

    def make_broken(self, place: Path) -> TokenStore:
        """A file has come in place of the folder."""
        store = FileStore(place / "replaced")
        store.path.rmdir()
        store.path.touch(mode=0o600)
        return store


class TestRedisStore(StoreContract):
    """A Redis, by the URL of it."""

    lease_ends = True
    refuses_unlocked = True
    secrets = (Redis.password,)

    @pytest.fixture(autouse=True)
    def at(self, redis: Redis) -> None:
        """Use the Redis of all tests."""
        self.redis = redis

    def make(self, place: Path) -> TokenStore:
        """All places are of one Redis."""
        return RedisStore(self.redis.url, prefix=f"{place.name}:")

    def make_broken(self, place: Path) -> TokenStore:
        """A Redis that listens no more."""
        return RedisStore(self.redis.url.replace(str(self.redis.port), "9"))


class TestRedisStoreOfACallable(TestRedisStore):
    """A Redis, by a callable that returns its URL, which goes into pickles."""

    pickles = True

    @pytest.fixture(autouse=True)
    def environment(self, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        """The URL is where a program has its secrets."""
        monkeypatch.setenv("REDIS_URL", redis.url)

    def make(self, place: Path) -> TokenStore:
        """The callable must be one that can be pickled."""
        return RedisStore(url_of_environment, prefix=f"{place.name}:")


class TestKeyringStore(StoreContract):
    """A keyring in a plain file."""

    pickles = True

    def make(self, place: Path) -> TokenStore:
        """The locks are in the place."""
        return KeyringStore("service", place / "locks")

    def make_broken(self, place: Path) -> TokenStore:
        """The file of the keyring is none."""
        Path(cast("Any", keyring.get_keyring()).file_path).write_text("not a keyring")
        return KeyringStore("service", place / "locks")


# Redis alone


KEY = "0123456789abcdef" * 4


def save(store: TokenStore, lifetime: float | None = None, record: str = "record") -> None:
    """Saves a record under the lock."""
    with store.lock(KEY, lease=10, wait=10):
        store.save(KEY, record, lifetime)


@pytest.mark.parametrize(
    ("own", "lifetime", "seconds"),
    [
        ({}, None, 90 * 86400),
        ({"lifetime": 60}, None, 60),
        ({"lifetime": 60}, 1000.5, 1000.5),
        ({}, 0.5, 0.5),
    ],
)
def test_record_in_redis_expires(
    redis: Redis, own: dict[str, float], lifetime: float | None, seconds: float
) -> None:
    """A record goes with its token; where nobody knows when that is, after the lifetime of the store."""
    store = RedisStore(redis.url, prefix="expires:", **cast("Any", own))
    save(store, lifetime)
    with redis.client() as client:
        left = client.pttl(f"expires:{{{KEY}}}") / 1000
    assert seconds - 5 < left <= seconds
    if seconds < 1:
        time.sleep(seconds)
        assert store.load(KEY) is None


def test_names_in_redis(redis: Redis) -> None:
    """The record is under the prefix and the key, the lock beside it while it is held, with its lease."""
    store, name = RedisStore(redis.url, prefix="names:"), f"names:{{{KEY}}}"
    with redis.client() as client:
        with store.lock(KEY, lease=10, wait=1):
            store.save(KEY, "record", None)
            assert sorted(client.keys("names:*")) == [name.encode(), f"{name}:lock".encode()]
            assert 5000 < client.pttl(f"{name}:lock") <= 10_000
        assert client.keys("names:*") == [name.encode()]
        assert client.get(name) == b"record"
    assert RedisStore(redis.url).prefix == "cruds:token:"
    assert RedisStore(redis.url, prefix="other:").load(KEY) is None


def test_redis_that_runs_no_scripts(redis: Redis) -> None:
    """Where the user of Redis may run no script, with which a token is saved, no token is asked for."""
    with redis.client() as client, AuthorizationServer() as authority:
        may = {"keys": ["*"], "commands": ["+@all", "-eval"], "passwords": [f"+{redis.password}"]}
        client.acl_setuser("ada", enabled=True, **may)
        with redis.client(username="ada") as ada:
            auth = OAuth2(
                authority.token_url,
                authority.client_id,
                authority.client_secret,
                "read",
                encryption_key="a key",
                store=RedisStore(ada, prefix="scripts:"),
            )
            with pytest.raises(OAuthStoreError, match=r"^no token was asked for: NoPermissionError"):
                auth.access_token()
        assert auth.token is None
        assert client.keys("scripts:*") == []


@pytest.mark.parametrize("decodes", [False, True])
def test_lock_in_redis_that_was_lost(redis: Redis, decodes: bool) -> None:
    """Before a token is asked for, the store finds out that its lock has ended, or is another's."""
    with redis.client(decode_responses=decodes) as client:
        store, name = RedisStore(client, prefix=f"lost {decodes}:"), f"lost {decodes}:{{{KEY}}}:lock"
        lost = "^no token was asked for: the lease of the lock in Redis has ended, and another may have it$"
        with pytest.raises(OAuthStoreError, match=lost):
            store.prepare(KEY)
        with store.lock(KEY, lease=10, wait=1):
            store.prepare(KEY)
            for holder in ("", "another's"):
                client.set(name, holder) if holder else client.delete(name)
                with pytest.raises(OAuthStoreError, match=lost):
                    store.prepare(KEY)
        client.delete(name)


@pytest.mark.parametrize("decodes", [False, True])
def test_client_of_ones_own(redis: Redis, decodes: bool) -> None:
    """A client is used as it is, whether it decodes what it gets or not."""
    with redis.client(decode_responses=decodes) as client:
        store = RedisStore(client, prefix=f"client {decodes}:")
        save(store)
        assert store.load(KEY) == "record"
        with store.lock(KEY, lease=10, wait=1):
            store.delete(KEY)
        assert store.load(KEY) is None


def test_what_is_not_pickled(redis: Redis) -> None:
    """A store with a client or with the text of a URL does not go into a pickle, and says what would."""
    with redis.client() as client, pytest.raises(TypeError, match="give it a callable that returns the URL"):
        pickle.dumps(RedisStore(client))
    with pytest.raises(TypeError, match="callable"):
        pickle.dumps(RedisStore(redis.url))


def test_url_that_a_callable_returns(redis: Redis) -> None:
    """A callable is not asked before the URL is needed."""
    asked: list[str] = []

    def url() -> str:
        asked.append(redis.url)
        return redis.url

    store = RedisStore(url, prefix="callable:")
    assert asked == []
    save(store)
    assert (store.load(KEY), asked[:1]) == ("record", [redis.url])


def test_callable_that_returns_no_url() -> None:
    """That what a callable returned is no URL is said when it is needed, without it."""
    store = RedisStore(lambda: "http://:a-password@host")
    with pytest.raises(OAuthStoreError, match=r"^redis must be a URL like rediss://host:6379/0: ValueError$"):
        store.load(KEY)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"redis": None},
            TypeError,
            "redis must be a redis.Redis, a URL or a callable that returns one (got NoneType)",
        ),
        ({"redis": 1}, TypeError, "(got int)"),
        ({"redis": b"redis://"}, TypeError, "(got bytes)"),
        ({"redis": AsyncRedis}, TypeError, "(got a class: make an instance)"),
        ({"redis": AsyncRedis()}, TypeError, "(got one of redis.asyncio)"),
        ({"redis": "localhost:6379"}, ValueError, "redis must be a URL like rediss://host:6379/0"),
        ({"redis": "http://:a-password@host"}, ValueError, "redis must be a URL like rediss://host:6379/0"),
        (
            {"redis": "redis://:a-password@host:port"},
            ValueError,
            "redis must be a URL like rediss://host:6379/0",
        ),
        ({"prefix": b"tokens:"}, TypeError, "prefix must be a str (got bytes)"),
        ({"prefix": None}, TypeError, "prefix must be a str (got NoneType)"),
        ({"lifetime": 0}, ValueError, "lifetime must be a positive number of seconds (got 0)"),
        ({"lifetime": -1.0}, ValueError, "positive number of seconds (got -1.0)"),
        ({"lifetime": float("nan")}, ValueError, "positive number of seconds (got nan)"),
        ({"lifetime": 1e308}, ValueError, "lifetime must be at most"),
        ({"lifetime": True}, TypeError, "(got True)"),
    ],
)
def test_arguments_of_redis(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """What cannot work is refused when the store is made, without the URL."""
    with pytest.raises(error, match=re.escape(message)) as caught:
        RedisStore(**{"redis": cast("Any", "redis://127.0.0.1"), **arguments})
    assert "a-password" not in str(caught.value)


@pytest.mark.parametrize("name", ["redis", "keyring"])
def test_library_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """Without its library a store cannot be made: ImportError, with what to install."""
    monkeypatch.setitem(sys.modules, name, None)
    makes: dict[str, Callable[[], TokenStore]] = {
        "redis": lambda: RedisStore("redis://127.0.0.1"),
        "keyring": lambda: KeyringStore(locks=tmp_path / "locks"),
    }
    with pytest.raises(ImportError, match=rf"pip install 'cruds-auth-oauth2\[{name}\]'"):
        makes[name]()


# Keyrings alone


SYSTEM = ("macOS", "Windows", "SecretService", "libsecret", "kwallet")
CLASSES = {"Windows": "WinVaultKeyring", "kwallet": "DBusKeyring"}  # of the others: Keyring


def backend_of(name: str) -> Any:
    """Returns a backend of keyring's by its module, made or not: some are for other systems."""
    module: Any = importlib.import_module(f"keyring.backends.{name}")
    return object.__new__(getattr(module, CLASSES.get(name, "Keyring")))


@pytest.mark.parametrize("name", SYSTEM)
def test_keyring_of_the_system(tmp_path: Path, name: str) -> None:
    """Backends of the operating systems keep others from reading, by the modules in which they are."""
    store = KeyringStore(locks=tmp_path / "locks")
    keyring.set_keyring(backend_of(name))
    assert store.protects


@pytest.mark.parametrize(
    ("backends", "protects"),
    [
        (["macOS"], True),
        (["SecretService", "kwallet"], True),
        (["SecretService", "plain"], False),
        (["plain"], False),
        ([], False),
    ],
    ids=str,
)
def test_keyring_of_several(tmp_path: Path, backends: list[str], protects: bool) -> None:
    """Of several backends each must be the system's: nobody says which one has the token."""
    chained = [PlaintextKeyring() if name == "plain" else backend_of(name) for name in backends]
    keyring.set_keyring(type("Chain", (ChainerBackend,), {"backends": chained})())
    assert KeyringStore(locks=tmp_path / "locks").protects is protects


def test_keyring_that_keeps_nothing(tmp_path: Path) -> None:
    """The null backend has no token, without an error: each process has one of its own."""
    keyring.set_keyring(backend_of("null"))
    store = KeyringStore(locks=tmp_path / "locks")
    assert not store.protects
    save(store)
    assert store.load(KEY) is None


def test_no_keyring(tmp_path: Path) -> None:
    """Where there is no keyring, each use is an OAuthStoreError with the remedy."""
    keyring.set_keyring(backend_of("fail"))
    store = KeyringStore(locks=tmp_path / "locks")
    assert not store.protects
    acts: list[Callable[[], object]] = [
        lambda: store.load(KEY),
        lambda: save(store),
        lambda: store.delete(KEY),
    ]
    for act in acts:
        with pytest.raises(OAuthStoreError, match="NoKeyringError; unlock it, or choose another store"):
            act()


def test_service_of_a_keyring(tmp_path: Path, backend: KeyringBackend) -> None:
    """A record is the password of a service; it is of no other service."""
    store = KeyringStore("a service", tmp_path / "locks")
    save(store)
    assert backend.get_password("a service", KEY) == "record"
    assert KeyringStore(locks=tmp_path / "locks").load(KEY) is None
    assert repr(store) == "KeyringStore('a service')"


def test_locks_of_a_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The locks are files below the user's folder unless another one is given."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save(KeyringStore())
    assert (tmp_path / ".cruds" / "locks" / f"{KEY}.lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no users without a home")
def test_keyring_of_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has neither HOME nor an entry of the system's, as in a container, has to name a folder."""

    def getpwuid(user: int) -> NoReturn:
        raise KeyError(user)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    with pytest.raises(ValueError, match=r"^locks must name a folder \(got '~/.cruds/locks'\)$"):
        KeyringStore()


@pytest.mark.parametrize("service", [None, 1, b"cruds"], ids=repr)
def test_arguments_of_a_keyring(tmp_path: Path, service: Any) -> None:
    """A service that is no str is a TypeError, as is a folder that is none."""
    with pytest.raises(TypeError, match=f"service must be a str .got {type(service).__name__}"):
        KeyringStore(service, tmp_path / "locks")
    with pytest.raises(TypeError, match="locks must be a str or a Path"):
        KeyringStore("service", cast("Any", 1))


# Of OAuth2


def auth_with(**more: Any) -> OAuth2:
    """Returns an OAuth2 that has reached no server."""
    return OAuth2("https://issuer.test/token", "client", "a-secret", "read", **more)


SIGN_IN = {"authorization_url": "https://issuer.test/authorize", "redirect_uri": "https://app.test/back"}


@pytest.mark.parametrize("store", ["tokens", Path("tokens"), 1, FileStore], ids=range(4))
def test_store_that_is_none(store: Any) -> None:
    """What is no TokenStore is a TypeError when the object is made, with what would be one."""
    kind = type(store).__name__
    with pytest.raises(
        TypeError, match=rf"^store must be a TokenStore, such as FileStore\(path\) \(got {kind}\)$"
    ):
        auth_with(store=store, encryption_key="key")


@pytest.mark.parametrize(
    ("user", "error", "message"),
    [
        ("", ValueError, "^user must be a str that is not empty .got str.$"),
        (1, TypeError, "^user must be a str that is not empty .got int.$"),
        (b"ada", TypeError, "^user must be a str"),
    ],
)
def test_user_that_is_none(tmp_path: Path, user: Any, error: type[Exception], message: str) -> None:
    """What names no user is refused, where the object is made and by for_user()."""
    options = {"store": FileStore(tmp_path / "tokens"), "encryption_key": "key", **SIGN_IN}
    with pytest.raises(error, match=message):
        auth_with(user=user, **options)
    with pytest.raises(error, match=message):
        auth_with(**options).for_user(user)


def test_user_without_a_store() -> None:
    """A user's name finds nothing where there is no store: ValueError."""
    with pytest.raises(ValueError, match=r"^user names whose token a store keeps; give a store, too$"):
        auth_with(user="ada", **SIGN_IN)
    with pytest.raises(ValueError, match=r"^user names whose token a store keeps; give a store, too$"):
        auth_with(**SIGN_IN).for_user("ada")


def test_sign_in_without_a_user(authority: AuthorizationServer, tmp_path: Path) -> None:
    """A sign-in for a store must say whose it is: ValueError."""
    auth = OAuth2(
        authority.token_url,
        authority.client_id,
        authority.client_secret,
        "read",
        authorization_url=authority.authorization_url,
        redirect_uri="http://127.0.0.1/back",
        encryption_key="key",
        store=FileStore(tmp_path / "tokens"),
    )
    begun = auth.authorization_request()
    with pytest.raises(ValueError, match=r"^user is missing: it names whose token the store keeps$"):
        auth.sign_in(begun.sealed, authority.sign_in(begun.url))


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://issuer.test"},
        {"client_id": "other"},
        {"scope": "write"},
        {"authorization_details": [{"type": "account"}]},
        {"token_params": {"resource": "https://api.test"}},
        {"token_params": {"audience": "api"}},
        {"username": "ada", "password": "a-password"},
        {"url": "https://issuer.test/other"},
    ],
    ids=["issuer", "client", "scope", "details", "resource", "audience", "username", "url"],
)
def test_tokens_have_places_of_their_own(tmp_path: Path, change: dict[str, Any]) -> None:
    """Two programs share a token if they ask the same server for the same, and else never."""
    options: dict[str, Any] = {
        "url": "https://issuer.test/token",
        "client_id": "client",
        "client_secret": "a-secret",
        "scope": "read",
        "encryption_key": "key",
        "store": FileStore(tmp_path / "tokens"),
    }
    for one in (options, options, options | change):
        OAuth2(**one).clear()  # takes the lock
    assert len(list((tmp_path / "tokens").glob("*.lock"))) == 2


def test_token_has_one_place_however_it_is_asked_for(tmp_path: Path) -> None:
    """Scopes in another order, as a set has them in each process, and one resource in a list are the same."""
    for scope, resource in (("a b c", "https://api.test"), ("c a b", ["https://api.test"])):
        OAuth2(
            "https://issuer.test/token",
            "client",
            "a-secret",
            scope,
            encryption_key="key",
            token_params={"resource": resource},
            store=FileStore(tmp_path / "tokens"),
        ).clear()  # takes the lock
    assert len(list((tmp_path / "tokens").glob("*.lock"))) == 1
