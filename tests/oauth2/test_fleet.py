"""Many processes, on one host or on two, that share a token: it is refreshed once, whoever asks."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from servers.fleet import CLONE_NEWNET, Process, Setting, processes
from servers.redis import Redis
from servers.relay import from_path

from cruds.demo.authorization import AuthorizationServer

PROCESSES, THREADS = 8, 8
KEY = Fernet.generate_key().decode()


@pytest.fixture
def authority() -> Iterator[AuthorizationServer]:
    """A server that revokes the family of a refresh token that is used twice."""
    with AuthorizationServer(rotates=True) as server:
        yield server


@pytest.fixture(params=["file", "redis"])
def setting(request: pytest.FixtureRequest, authority: AuthorizationServer, tmp_path: Path) -> Setting:
    """What all processes have in common: one user, who has signed in."""
    store = str(tmp_path / "tokens")
    if request.param == "redis":
        redis: Redis = request.getfixturevalue("redis")
        redis.ask("FLUSHALL")
        store = redis.url
    setting = Setting(authority.token_url, authority.client_id, authority.client_secret, KEY, store)
    setting.sign_in(authority)
    return setting


@pytest.mark.parametrize(("way", "rounds"), [("expired", 50), ("refused", 10)])
def test_one_refresh_for_all(authority: AuthorizationServer, setting: Setting, way: str, rounds: int) -> None:
    """Of 8 processes with 8 threads each that find the token expired, or get a 401, one refreshes it."""
    with processes(PROCESSES, setting) as fleet:
        [token] = {process.token() for process in fleet}
        for number in range(1, rounds + 1):
            authority.expire_all()
            passed = {"shift": number * authority.lifetime} if way == "expired" else {"refused": token}
            for process in fleet:
                process.tell("tokens", threads=THREADS, **passed)
            answers = [process.answer() for process in fleet]
            assert [answer["errors"] + answer["warnings"] for answer in answers] == [[]] * PROCESSES
            [token] = {token for answer in answers for token in answer["tokens"]}
            assert authority.is_active(token)
            asked = [(request["grant_type"], request["status"]) for request in authority.token_requests]
            assert asked == [("refresh_token", 200)] * number


def test_two_hosts(authority: AuthorizationServer, redis: Redis, tmp_path: Path) -> None:
    """Two hosts, which have nothing but a Redis in common, refresh an expired token once, 20 times."""
    unshare = ["unshare", "--map-root-user", "--net", "true"]
    made = subprocess.run(unshare, capture_output=True, check=False).returncode == 0
    if not made:  # a kernel's decision, not something to install
        pytest.skip("no network namespace can be made here: the kernel or a container forbids it")
    port = int(authority.token_url.rsplit(":", 1)[1].split("/")[0])
    relays = {str(port): str(tmp_path / "authority"), str(redis.port): str(redis.socket)}
    setting = Setting(authority.token_url, authority.client_id, authority.client_secret, KEY, redis.url)
    redis.ask("FLUSHALL")
    setting.sign_in(authority)
    with ExitStack() as stack:
        stack.enter_context(from_path(tmp_path / "authority", port))
        hosts = [Process(replace(setting, relays=relays), CLONE_NEWNET) for _ in range(2)]
        for host in hosts:
            stack.callback(host.end)
        networks = {host.ask("run", command=["readlink", "/proc/self/ns/net"]) for host in hosts}
        assert len(networks | {str(Path("/proc/self/ns/net").readlink()) + "\n"}) == 3
        for number in range(1, 21):
            authority.expire_all()
            for host in hosts:
                host.tell("tokens", threads=THREADS, shift=number * authority.lifetime)
            answers = [host.answer() for host in hosts]
            assert [answer["errors"] + answer["warnings"] for answer in answers] == [[], []]
            [token] = {token for answer in answers for token in answer["tokens"]}
            assert authority.is_active(token)
            assert len(authority.token_requests) == number
