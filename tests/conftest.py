"""The servers of `tests/servers/` as fixtures, started when a test first asks, and a folder for plugins."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers.apache
import servers.django
import servers.httpbin
import servers.nginx
import servers.oidc
import servers.proxy
import servers.redis
import servers.tls
from distributions import Site
from documents import Stage, staged
from hypothesis import HealthCheck, settings

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer

# How fast an input is made says something of the machine, and nothing of the code. Only `make fuzz` looks for
# new inputs: otherwise they are the same each time, and a test that fails is one that a change broke.
settings.register_profile(
    "any machine",
    deadline=None,
    derandomize="CRUDS_TEST_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    """Have each collection of garbage pass over what 7000 tests and their modules hold: it is not garbage."""
    gc.freeze()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> servers.tls.Certificates:
    """A private authority that signed one good, one expired and one misnamed server certificate."""
    return servers.tls.issue(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def httpbin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a running httpbin."""
    with servers.httpbin.serve(tmp_path_factory.mktemp("httpbin")) as url:
        yield url


@pytest.fixture(scope="session")
def nginx(
    tmp_path_factory: pytest.TempPathFactory, tls: servers.tls.Certificates
) -> Iterator[servers.nginx.Nginx]:
    """A running nginx with plain and TLS ports."""
    with servers.nginx.serve(tmp_path_factory.mktemp("nginx"), tls) as server:
        yield server


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.apache.Apache]:
    """A running Apache that asks for Basic and Digest credentials."""
    with servers.apache.serve(tmp_path_factory.mktemp("apache")) as server:
        yield server


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.proxy.Proxy]:
    """A running forward proxy that anybody may use."""
    with servers.proxy.serve(tmp_path_factory.mktemp("proxy")) as server:
        yield server


@pytest.fixture(scope="session")
def auth_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.proxy.Proxy]:
    """A running forward proxy that asks for a user and a password."""
    with servers.proxy.serve(tmp_path_factory.mktemp("auth_proxy"), user="proxy", password="pw") as server:
        yield server


@pytest.fixture(scope="session")
def django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.django.Django]:
    """A running django-oauth-toolkit: an authorization server and a resource that it protects."""
    with servers.django.serve(tmp_path_factory.mktemp("django")) as server:
        yield server


@pytest.fixture(scope="session")
def oidc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.oidc.Provider]:
    """A running oidc-provider: an OAuth 2.0 server with two issuers."""
    with servers.oidc.serve(tmp_path_factory.mktemp("oidc")) as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.redis.Redis]:
    """A running Redis that asks for a password, and keeps nothing on the disk."""
    with servers.redis.serve(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def authority() -> Iterator[AuthorizationServer]:
    """An embedded authorization server, which has given out nothing yet."""
    with AuthorizationServer() as server:
        yield server


@pytest.fixture
def api() -> Iterator[DemoAPI]:
    """An embedded JSON API with collections, as empty as it starts."""
    with DemoAPI() as server:
        yield server


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A place where the examples of the documents run."""
    with staged(monkeypatch, tmp_path) as stage:
        yield stage


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder without distributions yet, on the path of this process and of those that it runs."""
    monkeypatch.delenv("CRUDS_PLUGINS", raising=False)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    site = Site(folder)
    yield site
    site.forget()
