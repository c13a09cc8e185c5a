"""Workers: an OAuth2 with a store goes to other processes, and all of them have one token."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import redis as redis_py
import servers.redis
from servers.environment import PASSWORD, password_of_environment
from servers.oauth2_environment import (
    CLIENT_SECRET,
    ENCRYPTION_KEY,
    client_secret_of_environment,
    encryption_key_of_environment,
)
from servers.process import HOST, require_distribution
from servers.workers import REDIS_URL, token_of_user, use

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import FileStore, OAuth2, OAuthAccessTokenError, RedisStore, TokenStore

SECRET = "hunter2-hunter2"
KEY = "a key for the tests"
REDIRECT_URI = "http://127.0.0.1:1/callback"
WORKERS = 4

# Newer Pythons warn of a fork while there are threads: those of the servers.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

Use = Callable[[OAuth2], list[str]]


@pytest.fixture(autouse=True, scope="module")
def secrets() -> Iterator[None]:
    """The secrets, in the environment of this process and of those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {CLIENT_SECRET: SECRET, PASSWORD: SECRET, ENCRYPTION_KEY: KEY}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def authority() -> Iterator[AuthorizationServer]:
    """An authorization server with rotation, which revokes a family at the second use of a refresh token."""
    with AuthorizationServer(client_secret=SECRET, username="ada", password=SECRET, rotates=True) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    """A store in a folder."""
    return FileStore(tmp_path / "tokens")


def scheme(authority: AuthorizationServer, store: TokenStore, **options: Any) -> OAuth2:
    """Returns a scheme whose secrets are importable callables."""
    settings: dict[str, Any] = {"encryption_key": encryption_key_of_environment, "store": store}
    secret = client_secret_of_environment
    return OAuth2(authority.token_url, authority.client_id, secret, "read", **settings | options)


def back_end(authority: AuthorizationServer, store: TokenStore) -> OAuth2:
    """Returns what each process of a web back end has."""
    return scheme(authority, store, authorization_url=authority.authorization_url, redirect_uri=REDIRECT_URI)


def signed_in(auth: OAuth2, authority: AuthorizationServer, user: str) -> OAuth2:
    """Signs a user in."""
    request = auth.authorization_request()
    return auth.sign_in(request.sealed, authority.sign_in(request.url), user)


def grants(authority: AuthorizationServer) -> list[tuple[str, int]]:
    """Returns the grant of each token request, and the status of its answer."""
    return [(request["grant_type"], request["status"]) for request in authority.token_requests]


# Pools


@pytest.fixture(params=["fork", "spawn"])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Use]:
    """Uses a scheme in each process of a ProcessPoolExecutor at a time."""
    context = multiprocessing.get_context(cast("str", request.param))
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:

        def everywhere(auth: OAuth2) -> list[str]:
            futures = [pool.submit(use, auth, meeting(tmp_path), WORKERS) for _ in range(WORKERS)]
            return [future.result(90) for future in futures]

        yield everywhere


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Use]:
    """Uses a scheme in each process of a multiprocessing.Pool at a time."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:

        def everywhere(auth: OAuth2) -> list[str]:
            return pool.starmap_async(use, [(auth, meeting(tmp_path), WORKERS)] * WORKERS, 1).get(90)

        yield everywhere


def meeting(folder: Path) -> Path:
    """Returns the folder where the workers of a test meet, once."""
    folder = folder / "meeting"
    folder.mkdir(exist_ok=True)
    return folder


def test_first_token_in_an_executor(authority: AuthorizationServer, store: TokenStore, executor: Use) -> None:
    """The processes of a ProcessPoolExecutor, forked or spawned, get one token by one token request."""
    authority.delay = 0.2
    [token] = set(executor(scheme(authority, store)))
    assert authority.is_active(token)
    assert grants(authority) == [("client_credentials", 200)]


def test_first_token_in_a_pool(authority: AuthorizationServer, store: TokenStore, pool: Use) -> None:
    """The processes of a multiprocessing.Pool get one token by one token request."""
    authority.delay = 0.2
    [token] = set(pool(scheme(authority, store)))
    assert authority.is_active(token)
    assert grants(authority) == [("client_credentials", 200)]


def test_an_expired_sign_in_in_an_executor(
    authority: AuthorizationServer, store: TokenStore, executor: Use
) -> None:
    """The processes of a ProcessPoolExecutor refresh a user's token once, and the user's object has it."""
    authority.lifetime = 0
    user = signed_in(back_end(authority, store), authority, "ada")
    authority.lifetime, authority.delay = 3600, 0.2
    [token] = set(executor(user))
    assert authority.is_active(token)
    assert user.access_token() == token
    assert grants(authority) == [("authorization_code", 200), ("refresh_token", 200)]


def test_a_password_in_a_pool(authority: AuthorizationServer, store: TokenStore, pool: Use) -> None:
    """The processes of a multiprocessing.Pool refresh the token of a password once."""
    auth = scheme(authority, store, username="ada", password=password_of_environment)
    authority.lifetime = 0
    auth.access_token()
    authority.lifetime, authority.delay = 3600, 0.2
    [token] = set(pool(auth))
    assert authority.is_active(token)
    assert grants(authority) == [("password", 200), ("refresh_token", 200)]


# Dask

# In a process of its own, as what it loads changes how every exception of a process is pickled.
PROGRAM = """
import json, os, sys
from pathlib import Path
import distributed
from cruds_auth_oauth2 import OAuth2, RedisStore
from cruds_core import Client
from servers.environment import password_of_environment
from servers.oauth2_environment import client_secret_of_environment, encryption_key_of_environment
from servers.workers import redis_url_of_environment, use

if __name__ == "__main__":
    url, client_id, api, folder, space = sys.argv[1:]
    options = {"encryption_key": encryption_key_of_environment, "store": RedisStore(redis_url_of_environment)}
    user = {"username": "ada", "password": password_of_environment}
    auth = OAuth2(url, client_id, client_secret_of_environment, "read", **user, **options)
    settings = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with (
        distributed.LocalCluster(local_directory=space, **settings) as cluster,
        distributed.Client(cluster) as dask,
    ):
        workers = dask.scheduler_info()["workers"]
        tasks = [dask.submit(use, auth, Path(folder), 2, workers=[worker], pure=False) for worker in workers]
        tokens = dask.gather(tasks)
        client = Client(api, auth)
        books = dask.gather([dask.submit(client.read, "books", pure=False) for _ in range(10)])
    print(json.dumps([tokens, books]))
"""


def test_dask(authority: AuthorizationServer, redis: servers.redis.Redis, tmp_path: Path) -> None:
    """The workers of a Dask cluster refresh the token once, and send it with a Client that they are given."""
    require_distribution("distributed")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    auth = scheme(authority, RedisStore(redis.url), username="ada", password=password_of_environment)
    authority.lifetime, authority.delay = 0, 0.2
    auth.access_token()
    authority.lifetime = 3600
    with DemoAPI(token=authority.is_active) as api:
        result = subprocess.run(
            [
                *(sys.executable, program, authority.token_url, authority.client_id, api.url),
                *(meeting(tmp_path), tmp_path / "dask"),
            ],
            env={**os.environ, REDIS_URL: redis.url, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        tokens, books = json.loads(result.stdout.splitlines()[-1])
        assert len(set(tokens)) == 1
        assert books == [[]] * 10
        assert {request.headers["Authorization"] for request in api.requests} == {f"Bearer {tokens[0]}"}
    assert grants(authority) == [("password", 200), ("refresh_token", 200)]


# Users elsewhere


@pytest.fixture
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Calls a function in a process that was spawned, and returns or raises what it does."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:

        def call(function: Callable[..., Any], *args: Any) -> Any:
            return pool.submit(function, *args).result(60)

        yield call


def test_a_users_object_travels(
    authority: AuthorizationServer, store: TokenStore, elsewhere: Callable[..., Any]
) -> None:
    """A signed-in user's object with a store travels without its tokens, and finds them where it arrives."""
    user = signed_in(back_end(authority, store), authority, "ada")
    assert user.token is not None
    pickled = pickle.dumps(user)
    for secret in (user.token.access_token, user.token.refresh_token, SECRET, KEY):
        assert secret is not None
        assert secret.encode() not in pickled
    assert elsewhere(user.access_token) == user.access_token()
    assert grants(authority) == [("authorization_code", 200)]


def test_a_user_in_another_process(
    authority: AuthorizationServer, store: TokenStore, elsewhere: Callable[..., Any]
) -> None:
    """for_user finds the token of each user who signed in in another process, and of nobody else."""
    auth = back_end(authority, store)
    tokens = {name: signed_in(auth, authority, name).access_token() for name in ("ada", "grace")}
    assert len(set(tokens.values())) == 2
    for name, token in tokens.items():
        assert elsewhere(token_of_user, auth, name) == token
    with pytest.raises(OAuthAccessTokenError, match="nobody has signed in"):
        elsewhere(token_of_user, auth, "joan")


def test_a_sign_in_without_a_user_keeps_its_code(authority: AuthorizationServer, store: TokenStore) -> None:
    """A sign-in that forgets the user is refused before the code is spent, and can be completed then."""
    auth = back_end(authority, store)
    request = auth.authorization_request()
    location = authority.sign_in(request.url)
    with pytest.raises(ValueError, match="user is missing"):
        auth.sign_in(request.sealed, location)
    with pytest.raises(ValueError, match="user must be a str that is not empty"):
        auth.sign_in(request.sealed, location, "")
    assert grants(authority) == []
    assert authority.is_active(auth.sign_in(request.sealed, location, "ada").access_token())


# What is refused


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("encryption_key", {"encryption_key": KEY}),
        ("password", {"username": "ada", "password": SECRET}),
    ],
    ids=["encryption_key", "password"],
)
def test_a_plain_secret_does_not_travel(store: TokenStore, name: str, options: dict[str, Any]) -> None:
    """With a store, too, a plain secret is a TypeError that names it and asks for an importable callable."""
    settings: dict[str, Any] = {"encryption_key": encryption_key_of_environment, **options}
    auth = OAuth2(f"http://{HOST}:9", "app", client_secret_of_environment, None, store=store, **settings)
    with pytest.raises(TypeError, match=f"{name} is a plain text.* give an importable callable") as caught:
        pickle.dumps(auth)
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_redis_with_its_client_does_not_travel() -> None:
    """A RedisStore with a client or a URL is a TypeError that asks for a callable and hides the URL."""
    url, of_url = f"redis://:{SECRET}@{HOST}:9", cast("Any", redis_py.Redis).from_url
    for given, asked in ((of_url(url), "that returns the URL"), (url, "importable callable")):
        auth = OAuth2(
            f"http://{HOST}:9",
            "app",
            client_secret_of_environment,
            None,
            encryption_key=encryption_key_of_environment,
            store=RedisStore(given),
        )
        with pytest.raises(TypeError, match=asked) as caught:
            pickle.dumps(auth)
        assert SECRET not in str(caught.value)
