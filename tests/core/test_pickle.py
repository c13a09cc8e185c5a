"""Clients in other processes: those whose secrets travel by name, and why the others cannot."""

import copy
import functools
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import urllib3
from servers.environment import PASSWORD, TOKEN, password_of_environment, token_of_environment
from servers.fault import Fault, Script, reply
from servers.tls import Certificates

from cruds.demo.api import DemoAPI
from cruds_auth_basic import ApiKey, Basic, Digest
from cruds_core import (
    AuthABC,
    BearerToken,
    Client,
    ClientError,
    Plugins,
    Request,
    RequestTimeoutError,
    ResponseTooLargeError,
)


@pytest.fixture
def environment(api: DemoAPI, monkeypatch: pytest.MonkeyPatch) -> DemoAPI:
    """The embedded API, with its credentials in the environment."""
    monkeypatch.setenv(TOKEN, api.token)
    monkeypatch.setenv(PASSWORD, api.password)
    return api


@pytest.fixture(scope="module")
def worker() -> Iterator[Callable[..., Any]]:
    """Calls a function in a process that was spawned, and returns or raises what it does."""
    context = multiprocessing.get_context("spawn")
    pools: list[ProcessPoolExecutor] = []

    def call(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        pools.append(ProcessPoolExecutor(1, mp_context=context))
        return pools[-1].submit(function, *args, **options).result(timeout=120)

    yield call
    for pool in pools:
        pool.shutdown()


@pytest.mark.parametrize("form", ["token", "pair"])
def test_a_client_works_in_a_worker(environment: DemoAPI, worker: Callable[..., Any], form: str) -> None:
    """A Client whose secrets are importable callables works in a spawned process, and so do its errors."""
    auth: Any = (
        BearerToken(token_of_environment)
        if form == "token"
        else (environment.username, password_of_environment)
    )
    with Client(environment.url, auth, retries=0) as client:
        client.request_headers["X-Team"] = "blue"
        client.create("things", {"name": "lamp"})
        if form == "token":
            assert worker(client.read, "things/1") == {"id": 1, "name": "lamp"}
        else:
            with pytest.raises(ClientError) as caught:
                worker(client.read, "things/99")
            assert caught.value.problem is not None
            assert caught.value.problem["detail"] == "there is no such object"
            assert caught.value.url == f"{environment.url}/things/99"
    assert environment.requests[-1].headers["X-Team"] == "blue"
    assert environment.connections == 2


def test_a_client_keeps_its_settings(environment: DemoAPI) -> None:
    """All that a Client was made with, and all that was added to it, is there after the pickle."""
    with Client(
        f"{environment.url}/flaky",
        BearerToken(token_of_environment),
        raise_status=False,
        retries=1,
        backoff_factor=0,
        retry_status_codes=(404,),
        serialize=False,
        retry_unsafe=True,
    ) as client:
        client.status_ignore.add(418)
        client.request_headers.add("X-Tag", "a")
        client.request_headers.add("X-Tag", "b")
        pickled = pickle.dumps(client)
    assert environment.token.encode() not in pickled
    with pickle.loads(pickled) as other:  # noqa: S301 - our own
        assert (other.host, other.raise_status, other.serialize) == (client.host, False, False)
        assert other.status_ignore == {418}
        assert other.request_headers.getlist("X-Tag") == ["a", "b"]
        # The POST is repeated once on the 404, and the answer comes as bytes without an error.
        answer = other.request("POST", "?times=2&status=404")
        assert (answer.attempts, answer.status, type(answer.data)) == (2, 404, bytes)


LIMITS: dict[str, tuple[dict[str, Any], Script, type[Exception]]] = {
    "timeout": ({"timeout": 0.2}, [5.0], RequestTimeoutError),
    "size": ({"max_response_size": 10}, reply(200, b"[1, 2, 3, 4]"), ResponseTooLargeError),
}


@pytest.mark.parametrize(("options", "script", "error"), LIMITS.values(), ids=LIMITS)
def test_limits_travel(options: dict[str, Any], script: Script, error: type[Exception]) -> None:
    """The limits that a Client was made with hold in its pickle, too."""
    with (
        Fault(script) as server,
        Client(server.url, retries=0, **options) as client,
        pickle.loads(pickle.dumps(client)) as other,  # noqa: S301 - our own
        pytest.raises(error),
    ):
        other.read("x")


def test_authorities_travel(tls: Certificates) -> None:
    """The CA file that a Client was made with is used in its pickle, too."""
    with (
        Fault(reply(200, b"[1]"), certificate=tls.good_path) as server,
        Client(server.url, verify_ssl=tls.ca_path, retries=0) as client,
        pickle.loads(pickle.dumps(client)) as other,  # noqa: S301 - our own
    ):
        assert other.read("x") == [1]


def has_no(name: str) -> Callable[[], str]:
    """Returns a callable that cannot be imported."""
    return lambda: name


class Own(AuthABC):
    """A scheme of the user's, with a secret that it gave into our care."""

    def __init__(self, token: str) -> None:
        self.inner = BearerToken(token)

    def authenticate(self, request: Request) -> None:
        """Leave it to the scheme inside."""
        self.inner.authenticate(request)


SECRETS: dict[str, tuple[Any, str]] = {
    "token": ("hunter2", "token is a plain text"),
    "bearer": (BearerToken("hunter2"), "token is a plain text"),
    "pair": (("ada", "hunter2"), "password is a plain text"),
    "basic": (Basic("ada", "hunter2"), "password is a plain text"),
    "digest": (Digest("ada", "hunter2"), "password is a plain text"),
    "key": (ApiKey("X-Api-Key", "hunter2"), "key is a plain text"),
    "own scheme": (Own("hunter2"), "token is a plain text"),
}


@pytest.mark.parametrize(("auth", "message"), SECRETS.values(), ids=SECRETS)
def test_a_plain_secret_is_not_pickled(auth: Any, message: str) -> None:
    """A secret that was given as text is never pickled, and the error says what to give instead."""
    with Client("127.0.0.1", auth) as client, pytest.raises(TypeError, match=message) as caught:
        pickle.dumps(client)
    assert "importable callable" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["Authorization", "cookie", "X-Api-Key", "Proxy-Authorization"])
def test_credentials_in_headers_are_not_pickled(name: str) -> None:
    """Credentials among request_headers are never pickled, and the error names the header."""
    with Client("127.0.0.1") as client:
        client.request_headers[name] = "hunter2"
        with pytest.raises(TypeError, match=f'"{name}"') as caught:
            pickle.dumps(client)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("mapping", [dict, urllib3.HTTPHeaderDict], ids=["dict", "HTTPHeaderDict"])
def test_headers_that_were_replaced_are_guarded_too(mapping: Callable[..., Any]) -> None:
    """A mapping that is put in the place of request_headers works, and its credentials are not pickled."""
    with Client("127.0.0.1") as client:
        client.request_headers = mapping({"Authorization": "hunter2"})
        assert client.request_headers["authorization"] == "hunter2"
        with pytest.raises(TypeError, match="Authorization"):
            pickle.dumps(client)


UNPICKLABLE: dict[str, tuple[dict[str, Any], str]] = {
    "manager": ({"manager": urllib3.PoolManager()}, "manager="),
    "plugins": ({"plugins": Plugins([])}, "plugins="),
}


@pytest.mark.parametrize(("options", "message"), UNPICKLABLE.values(), ids=UNPICKLABLE)
def test_what_is_the_users_own_is_not_pickled(options: dict[str, Any], message: str) -> None:
    """A Client with a manager or a registry of the user's says that this is why it cannot be pickled."""
    with Client("127.0.0.1", **options) as client, pytest.raises(TypeError, match=message):
        pickle.dumps(client)


@pytest.mark.parametrize(
    "source",
    [has_no("hunter2"), functools.partial(str, "hunter2"), "hunter2".strip],
    ids=["local", "partial", "method"],
)
def test_a_callable_that_cannot_be_imported(source: Callable[[], str]) -> None:
    """A Client whose secret is no function of a module cannot be pickled: it may hold the secret itself."""
    with (
        Client("127.0.0.1", BearerToken(source)) as client,
        pytest.raises(TypeError, match="token is no imp"),
    ):
        pickle.dumps(client)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("form", ["token", "pair", "header"])
def test_a_copy_works(api: DemoAPI, copied: Callable[[Client], Client], form: str) -> None:
    """A copy within the process has the secrets, and works beside the Client that it is from."""
    forms: dict[str, Any] = {"token": api.token, "pair": (api.username, api.password), "header": None}
    with Client(api.url, forms[form], retries=0) as client:
        if form == "header":
            client.request_headers["Authorization"] = f"Bearer {api.token}"
        with copied(client) as other:
            assert other.read("things") == client.read("things") == []


def test_a_deep_copy_is_independent(api: DemoAPI) -> None:
    """What is added to a deep copy is not added to the Client, and its connections are its own."""
    with Client(api.url, api.token, retries=0) as client, copy.deepcopy(client) as other:
        other.request_headers["X-Team"] = "blue"
        other.status_ignore.add(404)
        client.read("things")
        other.read("things")
        assert "X-Team" not in client.request_headers
        assert client.status_ignore == set()
        assert other.manager is not client.manager
    assert api.connections == 2


class Remembering(AuthABC):
    """Counts how often it is asked for its token."""

    def __init__(self) -> None:
        self.asked = 0

    def access_token(self) -> str:
        """Count, and read the environment."""
        self.asked += 1
        return os.environ[TOKEN]

    def is_valid(self) -> bool:
        """Say that the token never expires."""
        return True


def test_a_scheme_is_pickled_without_its_token(environment: DemoAPI) -> None:
    """A scheme of the token form leaves the token that it holds behind, and asks for one anew."""
    scheme = Remembering()
    with Client(environment.url, scheme, retries=0) as client:
        client.read("things")
    pickled = pickle.dumps(scheme)
    other = pickle.loads(pickled)  # noqa: S301 - our own
    assert (scheme.asked, other.asked) == (1, 1)
    assert environment.token.encode() not in pickled
    with Client(environment.url, other, retries=0) as client:
        client.read("things")
    assert (scheme.asked, other.asked) == (1, 2)
